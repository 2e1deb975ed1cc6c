"""Prompts that are continued: those that ship, and the user's own file with its mistakes."""

import json
from pathlib import Path

import pytest

from quantcheck import reference
from quantcheck.errors import SpecError
from quantcheck.quality.prompts import load_prompts
from quantcheck.quality.suites import load_suites
from quantcheck.spec.experiment import Quality
from quantcheck.spec.quality import Continuations


def own(path: Path, *lines: str, **changes: int) -> Continuations:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Continuations(prompts=str(path), **changes)


def test_the_shipped_ones_begin_the_documents_of_both_corpora() -> None:
    found = load_prompts(Continuations())
    assert len(found.items) == 40
    assert {item.group for item in found.items} == {"documentation", "stories"}
    texts = {}
    for name in ("documentation", "stories"):
        for line in reference.corpus_path(name).read_text(encoding="utf-8").splitlines():
            texts[json.loads(line)["id"]] = json.loads(line)["text"]
    for item in found.items:
        assert 100 < len(item.prompt) <= 200
        rest = texts[item.id].removeprefix(item.prompt)
        assert rest != texts[item.id]
        assert rest[0].isspace()  # a whole word


def test_all_of_the_shipped_ones_are_there_for_the_asking() -> None:
    ids = [item.id for item in load_prompts(Continuations(items=1000)).items]
    assert len(ids) == len(set(ids)) == 80


def test_own_prompts_keep_their_ids_and_their_number(tmp_path: Path) -> None:
    asked = own(tmp_path / "p.jsonl", '{"prompt": "One", "id": "first"}', "", '{"prompt": "Two "}', '{"prompt": "3"}',
                items=2)
    found = load_prompts(asked)
    assert [(item.id, item.prompt) for item in found.items] == [("first", "One"), ("1", "Two ")]
    other = load_prompts(own(tmp_path / "q.jsonl", '{"prompt": "One", "id": "first"}', '{"prompt": "Two"}'))
    assert found.digest != other.digest


@pytest.mark.parametrize(("line", "message"), [
    ('{"text": "x"}', "line 1: no `prompt`"), ('{"prompt": ""}', "line 1: no `prompt`"), ("[1]", "line 1: no `prompt`"),
    ('{"prompt": "\\ud800"}', "whole characters"), ("{", "not UTF-8 text, or not JSONL"), ("", "holds no prompts"),
    ('{"prompt": "a", "id": 1}\n{"prompt": "b", "id": 1}', "line 2: the id '1' was there before"),
])
def test_mistakes_are_told_with_their_place(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        load_prompts(own(tmp_path / "p.jsonl", line))
    assert str(caught.value).startswith("quality.continuations.prompts")
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot be read.*give JSONL"):
        load_prompts(Continuations(prompts=str(tmp_path / "none.jsonl")))


def test_they_come_last_among_the_suites() -> None:
    quality = Quality.model_validate({"suites": ["reference/stories"], "continuations": {"items": 3}})
    assert [suite.name for suite in load_suites(quality)] == ["reference/stories", "continuations"]
    assert quality.subjects == ["reference/stories", "continuations"]
