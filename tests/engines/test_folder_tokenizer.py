"""A folder's tokenizer: where BOS comes from, what ends an answer, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcheck import reference
from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.errors import ModelError

BOS = 0
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [], "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The reference model without its weights."""
    for file in reference.model_dir().glob("*.json"):
        shutil.copy(file, tmp_path)
    return tmp_path


def change(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


@pytest.mark.parametrize(("add", "template", "bos"), [
    (True, None, True), (False, None, False), (None, None, False), (None, TEMPLATE, True), (False, TEMPLATE, False),
])
def test_bos_is_where_the_configuration_or_the_template_puts_it(
    folder: Path, add: bool | None, template: Any, bos: bool
) -> None:
    change(folder, "tokenizer.json", post_processor=template)
    change(folder, "tokenizer_config.json", add_bos_token=add)
    tokenizer = FolderTokenizer(folder)
    plain, led = (tokenizer.encode("A lamp.", bos=wanted) for wanted in (False, True))
    assert plain.dtype == led.dtype == np.int32
    assert BOS not in plain.tolist()
    assert led.tolist() == ([BOS] if bos else []) + plain.tolist()
    assert tokenizer.decode(led) == "A lamp."


def test_a_file_that_cuts_and_fills_up_is_not_obeyed(folder: Path) -> None:
    before = FolderTokenizer(folder).encode("one two three", bos=False)
    change(folder, "tokenizer.json",
           truncation={"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
           padding={"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "<|endoftext|>"})
    assert FolderTokenizer(folder).encode("one two three", bos=False).tolist() == before.tolist()


@pytest.mark.parametrize(("model", "generation", "ends"), [
    (5, None, {5}), (5, [6, 7], {5, 6, 7}), ([5, 6], 6, {5, 6}), (None, 7, {7}),
])
def test_an_answer_ends_at_every_eos_token_and_newline(
    folder: Path, model: Any, generation: Any, ends: set[int]
) -> None:
    change(folder, "config.json", eos_token_id=model)
    change(folder, "generation_config.json", eos_token_id=generation)
    tokenizer = FolderTokenizer(folder)
    newlines = {token for token in range(tokenizer.vocab_size) if tokenizer.decode(np.array([token])).startswith("\n")}
    assert newlines
    assert tokenizer.line_ends() == newlines | ends
    (folder / "generation_config.json").unlink()
    assert tokenizer.line_ends() == newlines | ends


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_damaged_files_are_one_line(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    text = path.read_text(encoding="utf-8")
    path.unlink() if damage == "missing" else path.write_text(text[: len(text) // 2] if damage == "cut" else "{}")
    with pytest.raises(ModelError) as caught:
        FolderTokenizer(folder)
    assert "\n" not in str(caught.value)
