"""What a task will ask, told from its plain files alone: for planning, without lm-eval."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from quantcheck.harness.definitions import NAMED
from quantcheck.tasks import DATASETS, Item, MultipleChoice, read

__all__ = ["Question", "Questions", "questions", "spread"]


@dataclass(frozen=True, slots=True)
class Question:
    """`id` and `group` are those of its `Record`; `text` is the question, and the right choice where there are some."""

    id: str
    group: str
    text: str


@dataclass(frozen=True, slots=True)
class Questions:
    """All that are asked, in the order of the records; `sha256`: over the content of the data set's splits in use."""

    asked: tuple[Question, ...]
    sha256: str


def questions(name: str, data: Path, limit: int | None = None) -> Questions:
    """What the task `name` of `NAMED` asks over the files in `data`, `limit` items spread over its subjects.

    Raises `SpecError` for files that are missing or damaged.
    """
    named = NAMED[name]
    items = read(data, named.dataset)
    digest = hashlib.sha256()
    for item in items:
        digest.update(item.digest.encode())
    if named.shots and any(data.glob(DATASETS[named.dataset].splits[named.shots][0] + "*")):
        for item in read(data, named.dataset, named.shots):
            digest.update(item.digest.encode())
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.subject if "{subject}" in named.definition and isinstance(item, MultipleChoice) else "",
                          []).append(item)
    takes = spread([len(groups[group]) for group in sorted(groups)], limit)
    asked = tuple(
        Question(f"{group}/{place}" if group else str(place), group, _text(item))
        for group, take in zip(sorted(groups), takes, strict=True) for place, item in enumerate(groups[group][:take])
    )
    return Questions(asked, digest.hexdigest())


def spread(sizes: Sequence[int], limit: int | None) -> list[int]:
    """How many items to take of each part: as many of one as of another, as far as they have them."""
    if limit is None:
        return list(sizes)
    takes = [0] * len(sizes)
    left = min(limit, sum(sizes))
    while left:
        for place, size in enumerate(sizes):
            if left and takes[place] < size:
                takes[place] += 1
                left -= 1
    return takes


def _text(item: Item) -> str:
    if isinstance(item, MultipleChoice):
        return f"{item.question} {item.choices[item.gold]}"
    text: str = next(getattr(item, field) for field in ("question", "prompt", "text") if hasattr(item, field))
    return text
