"""What earlier runs tell of an experiment before it is run: how often answers flip, and how much speed scatters.

Looked at are the cells of the experiment's own results folder, then the finished runs in the folders beside it: of the
same model first, then the newest. Speed belongs to a machine, so only runs of this one count there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from quantcheck.errors import QuantcheckError
from quantcheck.report.blocks import THROUGHPUT, log_ratios
from quantcheck.report.cells import Cell, CellIndex
from quantcheck.report.pairs import pair_cells, unlike_hashes
from quantcheck.report.stored import StoredRun, read_run
from quantcheck.spec.experiment import Experiment
from quantcheck.stats import mcnemar_p, perplexity_ratio, token_units
from quantcheck.stats.blocks import pooled_spread
from quantcheck.stats.distributions import t_quantile
from quantcheck.store import Store
from quantcheck.telemetry.environment import hardware_id

__all__ = ["ASSUMED_PSI", "Flipping", "Pilot", "Scatter", "TextScatter"]

ASSUMED_PSI = 0.1
"""Share of items that flip where nothing is known: that of a 4-bit variant on a hard task."""
MOST_RUNS = 20
HERE = "here"
HARMED = 0.05


@dataclass(frozen=True, slots=True)
class Flipping:
    """The share of items that flip: the largest over a run's variants that no loss is shown of.

    `variant` is None for an assumption.
    """

    psi: float
    basis: str
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class Scatter:
    """Standard deviation of the blocks' log ratios, pooled over variants, and its degrees of freedom."""

    spread: float
    freedom: int
    basis: str


@dataclass(frozen=True, slots=True)
class TextScatter:
    """Standard deviation of the log perplexity ratio between units, of the same variant as with `Flipping`."""

    spread: float
    unit: str
    units_per_token: float
    basis: str


@dataclass(frozen=True)
class _Source:
    name: str
    index: CellIndex
    same_machine: bool


class Pilot:
    """Asks the runs that are there, nearest first."""

    def __init__(self, experiment: Experiment, store: Store) -> None:
        self._experiment = experiment
        self._store = store

    def flipping(self, task: str) -> Flipping:
        """How often answers of `task` flip; an assumption where no run has measured it."""
        for source in self._sources:
            found = list(_flips(source.index, task))
            if found:
                # Whom a loss is shown of needs no more items; among those only, the least damaged is the nearest guess.
                open_ones = [one[1:] for one in found if not one[0]]
                psi, variant = max(open_ones) if open_ones else min(one[1:] for one in found)
                return Flipping(psi, source.name, variant)
        return Flipping(ASSUMED_PSI, "assumed")

    def scatter(self, loads: Sequence[str]) -> Scatter | None:
        """How much the ratio of output throughput scatters between blocks, as a mean over `loads`."""
        for source in self._sources:
            if source.same_machine and (found := pooled_spread(list(_ratios(source.index, loads)))):
                return Scatter(*found, source.name)
        for source in self._sources:  # other loads of this machine are a better guess than none
            known = [load for load in source.index.loads if pooled_spread(list(_ratios(source.index, [load])))]
            if not (source.same_machine and known):
                continue
            groups = [known] if len(loads) > 1 else [[load] for load in known]
            found = pooled_spread([sample for group in groups for sample in _ratios(source.index, group)])
            if found:
                return Scatter(*found, f"{source.name}, other loads")
        return None

    def text(self, corpus: str) -> TextScatter | None:
        """How much the perplexity ratio of `corpus` scatters between its units; None where no run has measured it."""
        for source in self._sources:
            found = list(_texts(source.index, corpus))
            if found:
                open_ones = [one[1:] for one in found if not one[0]]
                return TextScatter(*(max(open_ones) if open_ones else min(one[1:] for one in found)), source.name)
        return None

    @cached_property
    def _sources(self) -> list[_Source]:
        return list(self._find())

    def _find(self) -> Iterator[_Source]:
        here = self._here
        document = self._store.read_document("experiment.json") or {}
        cells = sorted(self._store.cells(), key=lambda cell: float(cell.record.get("started_at", 0)))
        if cells:  # the last of several cells of one name is the one that is found
            index = CellIndex(self._experiment, cells, [])
            yield _Source(HERE, index, document.get("hardware_id") == here)
        for run in self._runs:
            if run.experiment.engine.kind == self._experiment.engine.kind:
                yield _Source(run.store.root.name, run.index, run.document.get("hardware_id") == here)

    def beside(self) -> Iterator[StoredRun]:
        """The finished runs of this model on this engine and machine in the folders beside, the newest first."""
        here, wanted = self._here, self._experiment
        for run in self._runs:
            own = run.experiment
            if run.document.get("hardware_id") == here and (own.model, own.weights, own.engine.kind) == (
                    wanted.model, wanted.weights, wanted.engine.kind):
                yield run

    @cached_property
    def _here(self) -> str:
        return hardware_id()

    @cached_property
    def _runs(self) -> list[StoredRun]:
        """Those in the folders beside: of the same model first, then the newest."""
        own = self._store.root.resolve()
        beside = [file.parent for file in self._store.root.parent.glob("*/experiment.json")
                  if file.parent.resolve() != own]
        runs = []
        for folder in sorted(beside, key=_changed, reverse=True)[:MOST_RUNS]:
            try:
                runs.append(read_run(Store(folder)))
            except QuantcheckError:
                continue
        # Stable: among those of the same model, and among the others, the newest stays first.
        return sorted(runs, key=lambda run: run.experiment.model != self._experiment.model)


def _changed(folder: Path) -> float:
    return (folder / "experiment.json").stat().st_mtime


def _flips(index: CellIndex, task: str) -> Iterator[tuple[bool, float, str]]:
    """(whether a loss is shown, psi, variant); one flip more than was seen, because none seen is not none."""
    for variant, baseline, cell in _quality(index, task, "task"):
        pair = pair_cells(baseline, cell)
        if isinstance(pair, str):
            continue
        shares = [right.astype(np.float64).reshape(len(pair.ids), -1).mean(axis=1)
                  for right in (pair.baseline, pair.variant)]
        change = shares[1] - shares[0]
        lost, gained = (round(float(np.sum(np.maximum(side, 0.0)))) for side in (-change, change))
        harmed = lost > gained and mcnemar_p(lost, gained) <= HARMED
        yield harmed, (float(np.sum(change**2)) + 1) / (len(pair.ids) + 2), variant


def _texts(index: CellIndex, corpus: str) -> Iterator[tuple[bool, float, str, float]]:
    """(whether a loss beyond the margin is shown, spread between units, their kind, units a token)."""
    for _, baseline, cell in _quality(index, corpus, "perplexity"):
        tokens = [np.asarray(one.table("tokens")["nll"], dtype=np.float64) for one in (baseline, cell)]
        if unlike_hashes(baseline, cell) or len(tokens[0]) != len(tokens[1]):
            continue
        units = token_units(cell.table("tokens")["document"])
        ratio = perplexity_ratio(tokens[0], tokens[1], units)
        if ratio.low is not None and ratio.high is not None:
            error = float(np.log(ratio.high / ratio.low)) / 2 / float(t_quantile(0.975, units.count - 1))
            harmed = ratio.low > 1 + index.experiment.policy.margin.perplexity_ratio
            yield harmed, error * float(np.sqrt(units.count)), units.kind, units.count / len(tokens[0])


def _quality(index: CellIndex, subject: str, kind: str) -> Iterator[tuple[str, Cell, Cell]]:
    baseline = index.quality(index.baseline, subject)
    for variant in index.variants[1:]:
        cell = index.quality(variant, subject)
        if baseline is not None and cell is not None and cell.record["result"]["kind"] == kind:
            yield variant, baseline, cell


def _ratios(index: CellIndex, loads: Sequence[str]) -> Iterator[list[float]]:
    """Each variant's log ratios by block as a report takes them: a mean over `loads` of the blocks that have all.

    Without any variant the twin's, which scatter somewhat more: its baseline is measured once, not twice.
    """
    for variant in index.variants[1:] or [index.again]:
        logs = [log_ratios(index, variant, load, THROUGHPUT) for load in loads]
        shared = set.intersection(*(set(log) for log in logs)) if logs else set()
        yield [float(np.mean([log[block] for log in logs])) for block in sorted(shared)]
