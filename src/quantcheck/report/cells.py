"""Cells as a report sees them: read-only, and found by variant, subject and block."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from quantcheck.report.requests import Requests, goodput, read_requests
from quantcheck.spec.experiment import AGAIN, Experiment

__all__ = ["Cell", "CellIndex", "Problem", "planned_cells", "read_problems", "short_names"]


class Cell(Protocol):
    """One stored cell."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What cell.json holds: `key` (kind, variant, subject, block), `result`, and how it was measured."""

    def table(self, name: str) -> Mapping[str, npt.NDArray[Any]]:
        """The columns of one of the cell's tables, all of one length."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that went wrong or was left out, and where: any of variant, subject and block may be None."""

    reason: str
    variant: str | None = None
    subject: str | None = None
    block: int | None = None

    def covers(self, variant: str, subject: str) -> bool:
        """Whether it explains why `variant` has no result for `subject`."""
        return self.variant == variant and self.subject in (None, subject)

    @property
    def what(self) -> str:
        """Where it happened, in words; blocks are counted from 1."""
        block = None if self.block is None else f"block {self.block + 1}"
        return ", ".join(part for part in (self.variant, self.subject, block) if part) or "run"


def read_problems(problems: Iterable[Mapping[str, Any] | str]) -> list[Problem]:
    """Problems from what a runner hands over: a sentence, or a mapping with `reason` and where it happened.

    Where: `variant` (or `what`, the same under another name), and if it concerns that alone, `subject`, `block`.
    """
    found = []
    for item in problems:
        if isinstance(item, str):
            found.append(Problem(item))
        else:
            reason = str(item.get("reason") or "no reason given")
            found.append(Problem(reason, item.get("variant", item.get("what")), item.get("subject"), item.get("block")))
    return found


@dataclass
class _Kept:
    """A cell whose tables are read once."""

    cell: Cell
    tables: dict[str, Mapping[str, npt.NDArray[Any]]] = field(default_factory=dict)

    @property
    def record(self) -> Mapping[str, Any]:
        return self.cell.record

    def table(self, name: str) -> Mapping[str, npt.NDArray[Any]]:
        if name not in self.tables:
            self.tables[name] = self.cell.table(name)
        return self.tables[name]


class CellIndex:
    """The cells of one experiment, in the order in which a reader meets them.

    `variants` has the baseline first and leaves out the noise floor's; `again` is the noise floor's name.
    """

    def __init__(self, experiment: Experiment, cells: Iterable[Cell], problems: list[Problem]) -> None:
        self.experiment = experiment
        self.problems = list(problems)
        self.baseline = experiment.baseline
        self.again = experiment.baseline + AGAIN
        self.variants = [self.baseline, *(v for v in experiment.variants if v != self.baseline)]
        self._load: dict[tuple[str, str], dict[int, Cell]] = {}
        self._quality: dict[tuple[str, str], Cell] = {}
        self._requests: dict[tuple[str, str], dict[int, Requests]] = {}
        for cell in cells:
            where = cell.record["key"]
            key = (str(where["variant"]), str(where["subject"]))
            if where["kind"] == "load":
                # What shows the client instead of the engine is no figure of the engine.
                if limited := cell.record["result"].get("client", {}).get("limited"):
                    self.problems.append(Problem(f"invalid (client-limited): {limited[0]}", *key, int(where["block"])))
                    continue
                self._load.setdefault(key, {})[int(where["block"])] = cell
            elif where["kind"] == "quality":
                self._quality[key] = cell
        self.loads = _in_order(_planned_loads(experiment), (s for _, s in self._load))
        subjects = _in_order(_planned_subjects(experiment), (s for _, s in self._quality))
        kinds = {s: cell.record["result"]["kind"] for (_, s), cell in self._quality.items()}
        self.tasks = [s for s in subjects if kinds.get(s) == "task"]
        self.corpora = [s for s in subjects if kinds.get(s) == "perplexity"]
        self.continuations = next((s for s in subjects if kinds.get(s, s) == "continuations"), None)
        self.unknown = [s for s in subjects if s not in kinds]

    def keeping(self) -> "CellIndex":
        """The same cells, each table of quality read at most once: for comparing every variant with every other."""
        other = copy.copy(self)
        other._quality = {where: _Kept(cell) for where, cell in self._quality.items()}
        return other

    def against(self, variant: str) -> "CellIndex":
        """The same cells with another variant in the baseline's place; it has no twin."""
        other = copy.copy(self)
        other.baseline, other.again = variant, variant + AGAIN
        other.variants = [variant, *(v for v in self.variants if v != variant)]
        return other

    def load(self, variant: str, load: str) -> dict[int, Cell]:
        """The variant's cells at one load, by block, in block order."""
        return dict(sorted(self._load.get((variant, load), {}).items()))

    def quality(self, variant: str, subject: str) -> Cell | None:
        """The variant's cell of one suite."""
        return self._quality.get((variant, subject))

    def load_cells(self, variant: str) -> Iterator[Cell]:
        """All load cells of one variant."""
        for load in self.loads:
            yield from self.load(variant, load).values()

    @property
    def no_quality(self) -> str:
        """Why an experiment without quality has none."""
        return "random weights" if self.experiment.weights == "random" else "no quality in the experiment"

    def missing(self, variant: str, subject: str) -> str:
        """Why `variant` has no result for `subject`."""
        reasons = [p.reason for p in self.problems if p.covers(variant, subject)]
        return reasons[0] if reasons else "no result stored"

    def metric_by_block(self, variant: str, load: str, metric: str) -> dict[int, float]:
        """The stored figure of each block that has a usable (positive, finite) one."""
        found = {}
        for block, cell in self.load(variant, load).items():
            value = cell.record["result"].get("metrics", {}).get(metric)
            if value is not None and np.isfinite(value) and value > 0:
                found[block] = float(value)
        return found

    def requests(self, variant: str, load: str) -> dict[int, Requests]:
        """The requests of the variant's cells at one load, by block; read once."""
        if (variant, load) not in self._requests:
            self._requests[variant, load] = {
                block: read_requests(cell.record["result"], cell.table("requests"))
                for block, cell in self.load(variant, load).items()
            }
        return self._requests[variant, load]

    def goodput(self, variant: str, load: str) -> dict[int, float]:
        """Good requests per s of each block, out of its requests, so that an SLO that came later holds too; 0 counts.

        Empty without an SLO.
        """
        slo = self.experiment.slo
        found = {} if slo is None else {b: goodput(r, slo) for b, r in self.requests(variant, load).items()}
        return {block: rate for block, rate in found.items() if rate is not None}


def planned_cells(experiment: Experiment) -> set[tuple[str, str, str, int]]:
    """(kind, variant, subject, block) of every cell that the experiment asks for, the baseline's twin's too."""
    names = [*experiment.variants, *([experiment.baseline + AGAIN] if experiment.noise_floor else [])]
    quality = {("quality", name, subject, 0) for name in names for subject in _planned_subjects(experiment)}
    return quality | {("load", name, load, block) for name in names for load in _planned_loads(experiment)
                      for block in range(experiment.blocks)}


def _planned_loads(experiment: Experiment) -> list[str]:
    load = experiment.load
    return [] if load is None else [point.subject for point in load.points()]


def _planned_subjects(experiment: Experiment) -> list[str]:
    quality = experiment.quality
    return [] if quality is None else quality.subjects


def _in_order(planned: list[str], found: Iterable[str]) -> list[str]:
    return planned + sorted(set(found) - set(planned))


def short_names(names: Iterable[str]) -> dict[str, str]:
    """`reference/arithmetic` as `arithmetic`, as long as that names one subject only."""
    full = list(names)
    tails = [name.rsplit("/", 1)[-1] for name in full]
    return {name: tail if tails.count(tail) == 1 else name for name, tail in zip(full, tails, strict=True)}
