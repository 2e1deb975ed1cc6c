import hashlib
import json
from pathlib import Path

import pytest

from quantcheck import reference
from quantcheck.errors import SpecError
from quantcheck.spec.variant import Calibration
from quantcheck.variants.calibration import (
    calibration_inputs,
    calibration_text,
    has_chat_template,
    read_calibration,
)

MODEL = reference.model_dir()


def lines(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps({"text": f"sample {i}", "id": i}) + "\n" for i in range(count)))
    return path


def test_rows_are_drawn_by_the_seed(tmp_path: Path) -> None:
    lines(tmp_path / "data.jsonl", 50)

    def drawn(seed: int) -> list[str]:
        how = Calibration(dataset="data.jsonl", samples=10, seed=seed)
        return [row["text"] for row in read_calibration(how, tmp_path, MODEL).rows]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    assert len(set(drawn(0))) == 10
    assert drawn(0) != [f"sample {i}" for i in range(10)]


def test_the_text_that_is_read(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "why"}, {"role": "assistant", "content": "because"}]}
    (tmp_path / "data.jsonl").write_text(f"{json.dumps({'text': 'sample'})}\n{json.dumps(chat)}\n")
    (tmp_path / "plain.txt").write_text("a whole text")
    both = calibration_text(Calibration(dataset="data.jsonl", samples=2), tmp_path)
    assert both is not None
    assert sorted(both.splitlines()) == ["sample", "why because"]
    assert calibration_text(Calibration(dataset="plain.txt"), tmp_path) == "a whole text"
    assert calibration_text(Calibration(dataset="hub:owner/name"), tmp_path) is None


def test_what_is_hashed(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", 5)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    how = Calibration(dataset="data.jsonl", samples=2, tokens=64, seed=3)
    assert calibration_inputs(how, tmp_path) == {"data_sha256": digest, "samples": 2, "tokens": 64, "seed": 3}
    assert read_calibration(how, tmp_path, MODEL).sha256 == digest
    assert calibration_inputs(Calibration(dataset="hub:owner/name"), tmp_path)["hub"] == "owner/name"


def test_a_plain_text_is_left_whole(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("Once upon a time.")
    data = read_calibration(Calibration(dataset="book.txt"), tmp_path, MODEL)
    assert (data.kind, data.text, data.name) == ("text", "Once upon a time.", "book.txt")


def test_messages_need_a_chat_template(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Hi"}]}
    (tmp_path / "chat.jsonl").write_text(json.dumps(row) + "\n")
    how = Calibration(dataset="chat.jsonl", samples=1)
    with pytest.raises(SpecError, match="has no chat template"):
        read_calibration(how, tmp_path, MODEL)
    model = tmp_path / "model"
    model.mkdir()
    assert not has_chat_template(model)
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert read_calibration(how, tmp_path, model).rows == (row,)


@pytest.mark.parametrize(("content", "complaint"), [
    ("", "is empty"),
    (" \n\n", "is empty"),
    ('{"text": "a"}\n', "holds 1 samples, 2 are asked for"),
    ('{"text": "a"}\n\nplain\n', "line 3 is no JSON"),
    ('{"text": "a"}\n{"text": " "}\n', "line 2 has neither"),
    ('{"text": "a"}\n{"messages": [{"role": "user"}]}\n', "line 2 has neither"),
    ('{"text": "a"}\n["b"]\n', "line 2 has neither"),
])
def test_data_that_does_not_do(content: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(content)
    with pytest.raises(SpecError, match=complaint):
        read_calibration(Calibration(dataset="data.jsonl", samples=2), tmp_path, MODEL)


def test_names_that_are_not_there(tmp_path: Path) -> None:
    for name, complaint in (("no.jsonl", "is not there"), ("hub:alone", "is no hub name")):
        with pytest.raises(SpecError, match=complaint):
            read_calibration(Calibration(dataset=name), tmp_path, MODEL)
    (tmp_path / "latin.txt").write_bytes(b"\xe9t\xe9")
    with pytest.raises(SpecError, match="UTF-8"):
        read_calibration(Calibration(dataset="latin.txt"), tmp_path, MODEL)


def test_a_text_that_ships_is_named_as_its_suite_is(tmp_path: Path) -> None:
    how = Calibration(dataset="reference/stories", samples=4, tokens=64)
    assert len(read_calibration(how, tmp_path, MODEL).rows) == 4
    digest = hashlib.sha256(reference.corpus_path("stories").read_bytes()).hexdigest()
    assert calibration_inputs(how, tmp_path)["data_sha256"] == digest
    with pytest.raises(SpecError, match="'reference/tales' is not there"):
        calibration_inputs(Calibration(dataset="reference/tales"), tmp_path)
    # A file of that name is the user's own.
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "stories").write_text("Mine.")
    assert read_calibration(how, tmp_path, MODEL).text == "Mine."
