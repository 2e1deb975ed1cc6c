"""Speed in two runs: no block is common to them, so each has a variance of its own; their baseline tells what moved."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from quantcheck.metrics import metric
from quantcheck.report import figures
from quantcheck.report.blocks import figures_by_block
from quantcheck.report.cells import CellIndex
from quantcheck.report.comparison import RunSpeedRow
from quantcheck.report.held import NOT_COMPARABLE, Held
from quantcheck.report.quality import figure
from quantcheck.report.speed import SPEED_METRICS, THROUGHPUT, ratio_figure
from quantcheck.report.stored import StoredRun
from quantcheck.report.summary import Figure
from quantcheck.stats import Ratio, SpeedVerdict, judge_speed, t_interval
from quantcheck.stats.welch import unpaired_ratio

__all__ = ["ALL_LOADS", "run_speed_rows"]

ALL_LOADS = "all loads"
NO_BLOCK = "no block has it"

IMPORTED_METRICS = ("input_throughput", "chunk_gap", "goodput")
"""What other tools tell beside `SPEED_METRICS`."""

Logs = dict[int, float]
Names = tuple[str, str]


def run_speed_rows(
    a: StoredRun, b: StoredRun, names: Names, held: Held
) -> tuple[RunSpeedRow | None, list[RunSpeedRow]]:
    """Output throughput over all common loads, and a row for every load and metric.

    `names` are the variants' in a and b.
    """
    loads = [load for load in a.index.loads if load in b.index.loads]
    if a.imported or b.imported:
        loads = [load for load in loads if a.index.load(names[0], load) and b.index.load(names[1], load)]
    if not loads:
        return None, []
    speed = _Speed(a, b, names, held)
    rows = [speed.row(load, [load], key) for load in loads for key in [*SPEED_METRICS, *speed.told(load)]]
    return speed.row(ALL_LOADS, speed.writing(loads), THROUGHPUT), rows


class _Speed:
    def __init__(self, a: StoredRun, b: StoredRun, names: Names, held: Held) -> None:
        self._runs, self._names, self._held = (a, b), names, held
        self._margin = a.experiment.policy.margin.throughput_ratio

    def row(self, name: str, loads: Sequence[str], key: str) -> RunSpeedRow:
        logs = self._logs(self._names, loads, key)
        values = [figure(t_interval(_array(one)).map_exp()) if one else Figure(reason=self._missing(side, loads, key))
                  for side, one in enumerate(logs)]
        moved, left = self._against_baseline(logs, loads, key)
        adjusted = Figure(reason=left) if isinstance(left, str) else ratio_figure(left)
        fields: dict[str, Any] = {"load": name, "metric": key, "a": values[0], "b": values[1],
                                  "blocks": (len(logs[0]), len(logs[1])), "moved": moved}
        reason = self._held.reason("speed")
        if not all(logs) or self._held.hidden("speed"):
            told = [value.reason for value in values if value.value is None and value.reason != NO_BLOCK]
            why = reason or next(iter(told), None) or "one of the runs has no figure"
            word = NOT_COMPARABLE if reason and all(logs) else None
            gone = Figure(reason=why)
            return RunSpeedRow(**fields, ratio=gone, adjusted=gone, word=word, reason=why)
        ratio = unpaired_ratio(_array(logs[0]), _array(logs[1]))
        fields |= {"ratio": ratio_figure(ratio), "adjusted": adjusted}
        if reason:
            return RunSpeedRow(**fields, word=None, reason=reason)
        verdict = self._judge(key, ratio)
        if isinstance(left, Ratio) and verdict.word not in ("inconclusive", self._judge(key, left).word):
            why = f"not without what moved: the runs' common baseline differs by {figures.ratio(moved)}"
            return RunSpeedRow(**fields, word="inconclusive", reason=why)
        return RunSpeedRow(**fields, word=verdict.word, more_blocks=verdict.more_blocks, reason=verdict.reason)

    def told(self, load: str) -> list[str]:
        """Further metrics that imported cells have of a load, on both sides."""
        if not any(run.imported for run in self._runs):
            return []
        return [key for key in IMPORTED_METRICS if all(self._logs(self._names, [load], key))]

    def writing(self, loads: Sequence[str]) -> list[str]:
        """Of imported loads those that write on both sides, if any does: a test of llama-bench may read alone."""
        if not any(run.imported for run in self._runs):
            return list(loads)
        return [load for load in loads if all(self._logs(self._names, [load], THROUGHPUT))] or list(loads)

    def _missing(self, side: int, loads: Sequence[str], key: str) -> str:
        """Why no block has a figure, as its cells say it."""
        cells = (cell for load in loads for cell in self._runs[side].index.load(self._names[side], load).values())
        reasons = (cell.record["result"].get("missing", {}).get(key) for cell in cells)
        return next((str(reason) for reason in reasons if reason), NO_BLOCK)

    def _judge(self, key: str, ratio: Ratio) -> SpeedVerdict:
        return judge_speed(ratio, higher_is_better=metric(key).better == "higher", margin=self._margin)

    def _against_baseline(
        self, logs: Sequence[Logs], loads: Sequence[str], key: str
    ) -> tuple[Figure, Ratio | str]:
        """What the runs' common baseline shows (the same file, so what differs is none of the variant's), and what is
        left of the variant's ratio without it: Welch's interval of each run's log ratios to its baseline."""
        if all(run.imported for run in self._runs):
            return _unknown("imported: nothing tells what moved between the files")
        baselines = self._runs[0].index.baseline, self._runs[1].index.baseline
        hashes = [run.artifacts.get(name, {}).get("sha256") for run, name in zip(self._runs, baselines, strict=True)]
        if hashes[0] is None or hashes[0] != hashes[1]:
            return _unknown("the runs have no baseline in common")
        if self._names == baselines:
            return _unknown("this is the runs' common baseline itself")
        bases = self._logs(baselines, loads, key)
        paired = [{block: log[block] - base[block] for block in log if block in base}
                  for log, base in zip(logs, bases, strict=True)]
        if not (all(bases) and all(paired)):
            return _unknown("the common baseline has no figure in one of the runs")
        moved, left = (unpaired_ratio(_array(one), _array(other)) for one, other in (bases, paired))
        return ratio_figure(moved), left

    def _logs(self, names: Names, loads: Sequence[str], key: str) -> list[Logs]:
        return [_mean([_by_block(run.index, name, load, key) for load in loads])
                for run, name in zip(self._runs, names, strict=True)]


def _unknown(reason: str) -> tuple[Figure, str]:
    return Figure(reason=reason), reason


def _by_block(index: CellIndex, variant: str, load: str, key: str) -> Logs:
    return {block: float(np.log(value)) for block, value in figures_by_block(index, variant, load, key).items()}


def _mean(loads: Sequence[Logs]) -> Logs:
    """Of each block that has all loads."""
    shared = set.intersection(*(set(load) for load in loads))
    return {block: float(np.mean([load[block] for load in loads])) for block in sorted(shared)}


def _array(logs: Logs) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(list(logs.values()), dtype=np.float64)
