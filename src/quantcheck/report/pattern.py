"""What an anti-pattern is: a condition that looks at a run, and its remedy."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quantcheck.report.cells import CellIndex
from quantcheck.report.summary import CellCount, CorpusRow, LoadRow, MemoryRow, SpeedWord, TaskRow, VariantRow

__all__ = ["Pattern", "Seen"]


@dataclass(frozen=True)
class Seen:
    """What the conditions look at; `overlaps` is what `quality.overlap` found, `twin` the noise floor's word."""

    index: CellIndex
    variants: Sequence[VariantRow]
    tasks: Sequence[TaskRow]
    corpora: Sequence[CorpusRow]
    loads: Sequence[LoadRow]
    memory: Sequence[MemoryRow]
    twin: SpeedWord | None
    artifacts: Mapping[str, Mapping[str, Any]]
    overlaps: Sequence[Mapping[str, Any]]
    cells: CellCount
    environment: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pattern:
    """`find` gives one sentence for every place where the condition holds; a report shows the first, and how many."""

    key: str
    find: Callable[[Seen], Iterator[str]]
    remedy: str
