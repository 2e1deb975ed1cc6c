"""The kinds of suites: a corpus for perplexity, and tasks of items that are answered right or wrong."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ChoiceTask", "Continued", "Corpus", "GenerationTask", "Item", "JudgedSuite", "NamedTask", "OwnSuite",
           "Suite", "file_digest", "json_lines"]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents to be scored by perplexity and divergence; `tokens`: score at most so many."""

    name: str
    documents: tuple[str, ...]
    tokens: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class Item:
    """One question; `data` is its line of the task's file."""

    id: str
    group: str
    prompt: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GenerationTask:
    """The model writes one line; `right` judges it."""

    name: str
    items: tuple[Item, ...]
    max_tokens: int
    right: Callable[[Item, str], bool]
    digest: str


@dataclass(frozen=True, slots=True)
class ChoiceTask:
    """The model's answer is the choice to which it gives the greatest summed log-likelihood."""

    name: str
    items: tuple[Item, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class NamedTask:
    """A task that lm-eval asks and judges: `ask` is the name or the definition's path that the harness is given.

    `items` are its questions (not its prompts) as far as they are known before it is asked: all of a task over plain
    files, none of one whose data come from the hub. `limit`: items that are asked at most.
    """

    name: str
    ask: str
    items: tuple[Item, ...]
    limit: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class Continued:
    """Prompts that are continued greedily, by at most `max_tokens`; nothing is right or wrong."""

    name: str
    items: tuple[Item, ...]
    max_tokens: int
    digest: str


OwnSuite = Corpus | GenerationTask | ChoiceTask | Continued
"""Those whose token ids and judgements are made here, and not by lm-eval."""
Suite = OwnSuite | NamedTask
JudgedSuite = GenerationTask | ChoiceTask | NamedTask
"""Those whose items are right or wrong."""


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The value of each line that is not blank; raises `OSError` and `ValueError` (no JSON, no UTF-8)."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def file_digest(path: Path) -> str:
    """SHA-256 of the file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
