"""The user's own tasks: JSONL of prompt, answer and choices."""

import json
from pathlib import Path
from typing import Any

import pytest

from quantcheck.errors import SpecError
from quantcheck.quality.suites import ChoiceTask, GenerationTask, load_suites
from quantcheck.spec.experiment import Quality


def written(tmp_path: Path, *rows: Any) -> Quality:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return Quality(tasks={"mine": str(path)})


def test_choices_by_number_or_by_text(tmp_path: Path) -> None:
    quality = written(tmp_path, {"prompt": "Hot is", "choices": [" ice", " fire"], "answer": 1},
                      {"prompt": "Wet is", "choices": [" rain", " sand"], "answer": " rain", "group": "g", "id": "w"})
    (task,) = load_suites(quality)
    assert isinstance(task, ChoiceTask)
    assert [(item.id, item.group, item.data) for item in task.items] == [
        ("0", "", {"choices": [" ice", " fire"], "gold": 1}), ("w", "g", {"choices": [" rain", " sand"], "gold": 0})]


def test_a_written_answer_is_one_of_those_given_whatever_its_case(tmp_path: Path) -> None:
    quality = written(tmp_path, {"prompt": "2+2=", "answer": "4"}, {"prompt": "City?", "answer": ["Paris", "Lutetia"]})
    (task,) = load_suites(quality)
    assert isinstance(task, GenerationTask)
    first, second = task.items
    assert [task.right(first, " 4 "), task.right(first, "44"), task.right(second, "lutetia"),
            task.right(second, "Rome")] == [True, False, True, False]
    assert len(load_suites(quality.model_copy(update={"items": 1}))[0].items) == 1  # type: ignore[union-attr]


GOOD = {"prompt": "p", "answer": "a"}


@pytest.mark.parametrize(("rows", "said"), [
    (["{"], "not JSONL"),
    ([[1]], "item 1: .*valid dictionary"),
    ([GOOD, {"prompt": "", "answer": "a"}], "item 2: prompt: "),
    ([{"prompt": "p", "answer": 3}], "without `choices` it is text"),
    ([{"prompt": "p", "choices": ["a", "b"], "answer": 2}], "is none of the 2 choices"),
    ([{"prompt": "p", "choices": ["a", "b"], "answer": "c"}], "is none of the 2 choices"),
    ([{"prompt": "p", "choices": ["a", "b"], "answer": ["a"]}], "is a list"),
    ([GOOD, {"prompt": "p", "choices": ["a", "b"], "answer": 0}], "make two tasks"),
    ([{**GOOD, "id": "x"}, {**GOOD, "id": "x"}], "item 2: the id 'x' was there before"),
    ([], "holds no items"),
])
def test_what_is_wrong_is_said_with_its_item(rows: list[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        load_suites(written(tmp_path, *rows))
    assert "\n" not in str(caught.value)
    assert "mine.jsonl" in str(caught.value)


def test_a_missing_file_and_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        load_suites(Quality(tasks={"mine": str(tmp_path / "none.jsonl")}))
    with pytest.raises(ValueError, match="neither JSONL"):
        Quality(tasks={"mine": "mine.csv"})
