"""The data sets that can be read from a user's folder: where each lies in it, and how a row becomes an item.

Names of files are those under which the data sets' authors publish them, each in a folder of its own; MMLU also in
the form with a header line, ARC and TriviaQA as llm-foundry has them, HellaSwag as llama.cpp's perplexity tool has it.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quantcheck.errors import SpecError
from quantcheck.tasks.files import csv_rows, find, groups_of_lines, json_lines
from quantcheck.tasks.items import GSM8K, MBPP, HumanEval, IFEval, Item, MultipleChoice, TriviaQA

__all__ = ["DATASETS", "Dataset", "read"]

Rows = Iterable[tuple[int, dict[str, Any]]]


def _by_place(rows: Rows) -> Rows:
    """Rows whose data set has no names for them; a name is made of the place."""
    return ((line, {**row, "id": str(place)}) for place, (line, row) in enumerate(rows))


def _gsm8k(path: Path) -> Rows:
    return _by_place(json_lines(path))


def _humaneval(path: Path) -> Rows:
    return ((line, {**row, "id": str(row.get("task_id"))}) for line, row in json_lines(path))


def _mbpp(first: int, last: int) -> Callable[[Path], Rows]:
    """MBPP is one file; its README says which `task_id`s belong to which split."""

    def rows(path: Path) -> Rows:
        for line, row in json_lines(path):
            number = row.get("task_id")
            if not isinstance(number, int) or first <= number <= last:  # what is no number is for the check to say
                yield line, {**row, "id": str(number)}

    return rows


def _ifeval(path: Path) -> Rows:
    return ((line, {**row, "id": str(row.get("key"))}) for line, row in json_lines(path))


MMLU_HEADER = ["question", "choice0", "choice1", "choice2", "choice3", "answer"]


def _mmlu(path: Path) -> Rows:
    subject = path.name.partition(".csv")[0].rpartition("_")[0]
    place = 0
    for line, row in csv_rows(path):
        if row == MMLU_HEADER:
            continue
        if len(row) != len(MMLU_HEADER):
            raise SpecError(f"{path}, line {line}: {len(row)} fields, not question, four choices and the answer")
        if row[5] not in (*"0123", *"ABCD"):
            raise SpecError(f"{path}, line {line}: the answer is {row[5]!r}, neither 0 to 3 nor A to D")
        gold = int(row[5]) if row[5].isdigit() else "ABCD".index(row[5])
        yield line, {"id": f"{subject}/{place}", "question": row[0], "choices": row[1:5], "gold": gold,
                     "subject": subject}
        place += 1


def _arc(path: Path) -> Rows:
    return _by_place(_questions(path, "query"))


def _hellaswag(path: Path) -> Rows:
    """Six lines an item: the beginning, the number of the right ending, four endings."""
    for place, (line, (context, label, *endings)) in enumerate(groups_of_lines(path, 6)):
        if label not in tuple("0123"):
            raise SpecError(f"{path}, line {line + 1}: {label!r} is not the number of an ending, 0 to 3")
        yield line, {"id": str(place), "question": context, "choices": endings, "gold": int(label)}


def _triviaqa(path: Path) -> Rows:
    return _by_place(_questions(path, "context"))


def _questions(path: Path, field: str) -> Rows:
    """Rows with a `question`: what is in `field` without the words around it, as prompts put their own."""
    for line, row in json_lines(path):
        if not isinstance(text := row.get(field), str):
            raise SpecError(f"{path}, line {line}: `{field}` is missing, or no text")
        yield line, {**row, "question": text.removeprefix("Question: ").removesuffix("\nAnswer:")}


@dataclass(frozen=True, slots=True)
class Dataset:
    """`splits`: where each split lies in the folder (more than one file where the pattern has a star), and its rows."""

    item: type[Item]
    splits: Mapping[str, tuple[str, Callable[[Path], Rows]]]


DATASETS: Mapping[str, Dataset] = {
    "gsm8k": Dataset(GSM8K, {"test": ("gsm8k/test.jsonl", _gsm8k), "train": ("gsm8k/train.jsonl", _gsm8k)}),
    "humaneval": Dataset(HumanEval, {"test": ("humaneval/HumanEval.jsonl", _humaneval)}),
    "mbpp": Dataset(MBPP, {"test": ("mbpp/mbpp.jsonl", _mbpp(11, 510)), "prompt": ("mbpp/mbpp.jsonl", _mbpp(1, 10))}),
    "ifeval": Dataset(IFEval, {"test": ("ifeval/input_data.jsonl", _ifeval)}),
    "mmlu": Dataset(MultipleChoice, {"test": ("mmlu/test/*_test.csv", _mmlu), "dev": ("mmlu/dev/*_dev.csv", _mmlu)}),
    "arc_easy": Dataset(MultipleChoice, {"test": ("arc/arc_easy.jsonl", _arc)}),
    "arc_challenge": Dataset(MultipleChoice, {"test": ("arc/arc_challenge.jsonl", _arc)}),
    "hellaswag": Dataset(MultipleChoice, {"validation": ("hellaswag/hellaswag_val_full.txt", _hellaswag)}),
    "triviaqa": Dataset(TriviaQA, {"validation": ("triviaqa/triviaqa_sm_sub.jsonl", _triviaqa)}),
}


def read(folder: Path, name: str, split: str | None = None) -> tuple[Item, ...]:
    """The items of one split, by default the first of `DATASETS[name].splits`, in the order of the files.

    Raises `SpecError` for an unknown name or split, a missing or damaged file, a row that is not as it should be (with
    file and line), and an id that comes twice.
    """
    dataset = DATASETS[_known(name, DATASETS, "data set")]
    pattern, rows = dataset.splits[_known(split or next(iter(dataset.splits)), dataset.splits, f"split of {name}")]
    items: dict[str, Item] = {}
    for path in find(folder, pattern):
        for line, item in _items(path, rows(path), dataset.item):
            if item.id in items:
                raise SpecError(f"{path}, line {line}: {item.id} was there before")
            items[item.id] = item
    if not items:
        raise SpecError(f"{folder / pattern}: holds no items")
    return tuple(items.values())


def _items(path: Path, rows: Rows, kind: type[Item]) -> Iterator[tuple[int, Item]]:
    for line, row in rows:
        try:
            yield line, kind.model_validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            message = first["msg"].removeprefix("Value error, ")
            raise SpecError(f"{path}, line {line}: {f'{where}: ' if where else ''}{message}") from error


def _known(name: str, names: Iterable[str], what: str) -> str:
    names = list(names)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
        raise SpecError(f"there is no {what} {name!r}; {hint}")
    return name
