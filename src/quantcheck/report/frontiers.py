"""Pareto frontiers: which variants are worth a look, and which are beaten by a finding.

Every comparison of two variants, the baseline or not, is made from the cells of these two: block by block, item by
item. The words are those of the verdicts, so a frontier never says more than the tables do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from quantcheck.metrics import metric
from quantcheck.report import figures
from quantcheck.report.blocks import THROUGHPUT, figures_by_block, left_out, noise_of
from quantcheck.report.cells import CellIndex
from quantcheck.report.cost_grids import usd
from quantcheck.report.costs import cost_by_block, workload_of
from quantcheck.report.grids import VARIANT, Column, Grid, Item
from quantcheck.report.quality import corpus_rows, task_rows
from quantcheck.report.summary import CostRow, Figure, FrontierRow, SpeedRow, Summary, VariantRow
from quantcheck.stats import judge_speed, speed_ratio
from quantcheck.stats.pareto import Axis, Finding, axis, dominators

__all__ = ["FRONTIER_WORDS", "frontier_grid", "frontier_lines", "frontier_rows"]

LATENCY = "e2e"
"""Of throughput against latency: the whole time that a caller waits, first token and all that follow."""


FRONTIER_WORDS = (
    "A point is dominated when another is a finding better on one axis and on the other no finding worse: differences "
    "that intervals do not support push nothing out. x: bytes of weights, end-to-end latency, or USD per million "
    "output tokens (M); y: change of accuracy (perplexity ratio where there is no task), or output throughput."
)


@dataclass(frozen=True)
class _Point:
    variant: str
    load: str | None
    x: Figure
    y: Figure

    @property
    def name(self) -> str:
        return f"{self.variant} at {self.load}" if self.load else self.variant

    @property
    def missing(self) -> str | None:
        return next((f.reason for f in (self.x, self.y) if f.value is None), None)


def frontier_rows(
    index: CellIndex,
    variants: Sequence[VariantRow],
    speed: Sequence[SpeedRow],
    costs: Sequence[CostRow],
    floors: tuple[Mapping[str, float], Mapping[str, float]],
) -> list[FrontierRow]:
    """The points of all frontiers that the results allow; those of one frontier stand together.

    `floors`: the noise floors of tasks and corpora, as `noise_floors` gives them.
    """
    quality = _Quality(index, floors)
    rows = []
    if len(variants) > 1 and (index.tasks or index.corpora):
        good = {row.name: _quality_figure(row) for row in variants}
        points = [_Point(row.name, None, row.size.bytes, good[row.name]) for row in variants]
        sizes = {row.name: row.size.bytes.value for row in variants}
        rows += _frontier("quality against size", None, points, [_smaller(sizes), quality.compare])
        for workload in dict.fromkeys(row.workload for row in costs):
            own = {row.variant: row for row in costs if row.workload == workload}
            points = [_Point(name, None, row.output, good[name]) for name, row in own.items()]
            rows += _frontier("cost against quality", workload, points, [_cheaper(index, own), quality.compare])
    for workload in dict.fromkeys(workload_of(load) for load in index.loads):
        values = {(r.variant, r.load, r.metric): r.value for r in speed if workload_of(r.load) == workload}
        points = [
            _Point(name, load, values[name, load, LATENCY], values[name, load, THROUGHPUT])
            for name in index.variants for load in index.loads if workload_of(load) == workload
        ]  # fmt: skip
        rows += _frontier("throughput against latency", workload, points, [_Speed(index, k).compare for k in
                                                                           (LATENCY, THROUGHPUT)])
    return rows


Compare = Callable[[_Point, _Point], Finding | None]
Kind = Literal["quality against size", "throughput against latency", "cost against quality"]


def _frontier(
    kind: Kind, workload: str | None, points: Sequence[_Point], compare: Sequence[Compare]
) -> list[FrontierRow]:
    placed = [point for point in points if point.missing is None]
    if len(placed) < 2:
        return []

    def matrix(one: Compare) -> Axis:
        return axis(len(placed), lambda i, j: one(placed[i], placed[j]))

    by = dict(zip((p.name for p in placed), dominators([matrix(one) for one in compare]), strict=True))
    return [
        FrontierRow(
            frontier=kind, workload=workload, variant=p.variant, load=p.load, x=p.x, y=p.y,
            on=None if p.missing else not by[p.name],
            dominated_by=[] if p.missing else [placed[i].name for i in by[p.name]], reason=p.missing,
        )
        for p in points
    ]  # fmt: skip


def _quality_figure(row: VariantRow) -> Figure:
    """Change of accuracy; perplexity ratio where there is no task."""
    if row.baseline:
        return Figure(value=0.0 if row.quality.basis == "tasks" else 1.0)
    return row.quality.delta if row.quality.basis == "tasks" else row.perplexity_ratio


def _smaller(sizes: Mapping[str, float | None]) -> Compare:
    """Bytes are counted, not estimated: any difference is one."""

    def compare(ours: _Point, theirs: _Point) -> Finding | None:
        a, b = sizes[ours.variant], sizes[theirs.variant]
        return None if a is None or b is None else _sign(b - a)

    return compare


def _cheaper(index: CellIndex, costs: Mapping[str, CostRow]) -> Compare:
    """Price against price, paired by block."""
    blocks = {name: cost_by_block(index, row) for name, row in costs.items()}
    margin = index.experiment.policy.margin.throughput_ratio

    def compare(ours: _Point, theirs: _Point) -> Finding | None:
        return _found(blocks[theirs.variant], blocks[ours.variant], higher=False, margin=margin, floor=None)

    return compare


def _sign(difference: float) -> Finding:
    return 1 if difference > 0 else -1 if difference < 0 else 0


class _Quality:
    """One variant against another on every task (without tasks: corpus), judged as against the baseline."""

    def __init__(self, index: CellIndex, floors: tuple[Mapping[str, float], Mapping[str, float]]) -> None:
        self._index = index.keeping()
        self._floors = dict(floors[0]), dict(floors[1])
        self._harm: dict[tuple[str, str], bool | None] = {}
        quality = index.experiment.quality
        self._early = bool(index.tasks) and quality is not None and quality.stop == "early"

    def compare(self, ours: _Point, theirs: _Point) -> Finding | None:
        """A finding worse: harmed on some subject and, the other way round, on none.

        Answers that ended early were looked at against the baseline's alone: only that comparison holds then, and only
        its own way round.
        """
        if self._early:
            return self._of_early(ours.variant, theirs.variant)
        lost, gained = self._harmed(theirs.variant, ours.variant), self._harmed(ours.variant, theirs.variant)
        if lost is None or gained is None or (lost and gained):
            return None
        return _sign(gained - lost)

    def _of_early(self, ours: str, theirs: str) -> Finding | None:
        if self._index.baseline not in (ours, theirs):
            return None
        harmed = self._harmed(self._index.baseline, theirs if ours == self._index.baseline else ours)
        return None if harmed is None else 0 if not harmed else 1 if ours == self._index.baseline else -1

    def _harmed(self, baseline: str, variant: str) -> bool | None:
        """Whether `variant` is harmed against `baseline`; None where a subject does not compare."""
        if (baseline, variant) not in self._harm:
            index = self._index.against(baseline)
            if index.tasks:
                words = [row.word for row in task_rows(index, variant, self._floors[0])]
            else:
                words = [row.word for row in corpus_rows(index, variant, self._floors[1])]
            unlike = any(word in (None, "not comparable") for word in words)
            self._harm[baseline, variant] = None if unlike else "harmed" in words
        return self._harm[baseline, variant]


class _Speed:
    """One variant at one load against another at another: one metric, paired by block."""

    def __init__(self, index: CellIndex, key: str) -> None:
        self._index, self._key = index, key
        self._kept: dict[_Point, dict[int, float]] = {}

    def compare(self, ours: _Point, theirs: _Point) -> Finding | None:
        index, key = self._index, self._key
        floors = (noise_of(index, index.baseline, p.load or "", key) for p in (ours, theirs))
        return _found(
            self._blocks(theirs), self._blocks(ours),
            higher=metric(key).better == "higher",
            margin=index.experiment.policy.margin.throughput_ratio,
            floor=max((floor for floor in floors if floor is not None), default=None),
        )  # fmt: skip

    def _blocks(self, point: _Point) -> dict[int, float]:
        """The figure in each block that counts for the variant."""
        if point not in self._kept:
            gone = left_out(self._index, point.variant)
            found = figures_by_block(self._index, point.variant, point.load or "", self._key)
            self._kept[point] = {block: value for block, value in found.items() if block not in gone}
        return self._kept[point]


def _found(
    baseline: Mapping[int, float], variant: Mapping[int, float], *, higher: bool, margin: float, floor: float | None
) -> Finding | None:
    ratio = speed_ratio(baseline, variant)
    if ratio is None or ratio.low is None:
        return None
    word = judge_speed(ratio, higher_is_better=higher, margin=margin, floor=floor).word
    return 1 if word == "faster" else -1 if word == "slower" else 0


def frontier_grid(summary: Summary) -> Grid:
    """Every frontier: its points, and what pushed out those that are off it."""
    columns = [Column("frontier", flexible=True), VARIANT, Column("load", flexible=True), Column("x", True),
               Column("y", True), Column("on it"), Column("dominated by", flexible=True)]  # fmt: skip
    rows, title = [], ""
    for row in summary.frontiers:
        name = _title(row)
        place = Item(missing=row.reason) if row.on is None else Item("yes", tone="good") if row.on else Item("no")
        x, y = _shown(row, summary)
        rows.append([Item(name if name != title else ""), Item(row.variant), Item(row.load or ""), x, y, place,
                     Item(_named(row.dominated_by), tone="quiet")])  # fmt: skip
        title = name
    return Grid(columns, rows)


def frontier_lines(summary: Summary) -> list[str]:
    """A line per frontier of whole variants that leaves one out: those that are on it."""
    lines = []
    for title in dict.fromkeys(_title(row) for row in summary.frontiers if row.load is None):
        own = [row for row in summary.frontiers if _title(row) == title]
        if any(row.on is False for row in own):
            lines.append(f"{title}: {', '.join(row.variant for row in own if row.on)}")
    return lines


def _title(row: FrontierRow) -> str:
    return f"{row.frontier}, {row.workload}" if row.workload else row.frontier


def _named(points: Sequence[str]) -> str:
    return ", ".join(points[:2]) + (f" and {len(points) - 2} more" if len(points) > 2 else "")


def _shown(row: FrontierRow, summary: Summary) -> tuple[Item, Item]:
    """The two figures in their own units."""
    tasks = bool(summary.quality)
    match row.frontier:
        case "throughput against latency":
            x, y = figures.value(row.x, LATENCY), figures.value(row.y, THROUGHPUT)
        case "quality against size":
            x = figures.value(row.x, "weights_bytes")
            y = figures.points(row.y) if tasks else figures.ratio(row.y, 4)
        case _:
            x, y = f"{usd(row.x)}/M", figures.points(row.y) if tasks else figures.ratio(row.y, 4)
    return _item(row.x, x), _item(row.y, y)


def _item(figure: Figure, text: str) -> Item:
    return Item(missing=figure.reason) if figure.value is None else Item(text)
