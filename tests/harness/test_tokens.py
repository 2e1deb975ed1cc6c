import json
import shutil
from pathlib import Path

import pytest

from quantcheck import reference
from quantcheck.errors import ModelError
from quantcheck.harness.tokens import FolderTokens

SPECIAL = "<|endoftext|>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(reference.model_dir() / name, tmp_path)
    return tmp_path


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_special_tokens_in_a_text_are_read(folder: Path) -> None:
    tokens = FolderTokens(folder)
    assert (tokens.eot, tokens.prefix, tokens.ends, tokens.spelling(tokens.eot)) == (0, 0, frozenset({0}), SPECIAL)
    ids = tokens.encode(f"a{SPECIAL}b", bos=False).tolist()
    assert ids[1] == 0
    assert len(ids) == 3
    assert tokens.decode(tokens.encode(f"Hello{SPECIAL} there", bos=False)) == "Hello there"


def test_bos_comes_where_tokenizer_json_puts_it_or_as_told(folder: Path) -> None:
    def first(**options: bool) -> bool:
        return FolderTokens(folder, **options).encode("Hello", bos=True)[0] == 0

    assert first()  # the reference model's has a rule, and transformers goes by that
    assert not first(add_bos=False)
    assert FolderTokens(folder).encode("Hello", bos=False)[0] != 0
    change(folder / "tokenizer.json", post_processor=None)
    assert not first()
    assert first(add_bos=True)


def test_the_end_is_prefix_where_there_is_no_bos(folder: Path) -> None:
    change(folder / "tokenizer_config.json", bos_token=None, eos_token={"content": SPECIAL})
    assert FolderTokens(folder).prefix == 0


def test_a_folder_without_an_end_is_refused(folder: Path) -> None:
    change(folder / "tokenizer_config.json", eos_token="<no such token>")
    with pytest.raises(ModelError, match="names no `eos_token`"):
        FolderTokens(folder)


def test_the_chat_template_of_the_folder(folder: Path) -> None:
    assert FolderTokens(folder).chat_template is None
    change(folder / "tokenizer_config.json", chat_template="A")
    assert FolderTokens(folder).chat_template == "A"
    (folder / "chat_template.jinja").write_text("B", encoding="utf-8")
    assert FolderTokens(folder).chat_template == "B"
