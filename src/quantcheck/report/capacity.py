"""The highest load of each workload that meets the SLO, and the throughput there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quantcheck.metrics import metric
from quantcheck.report import figures
from quantcheck.report.blocks import THROUGHPUT, left_out
from quantcheck.report.cells import CellIndex
from quantcheck.report.grids import TONES, VARIANT, WORDS, Column, Grid, Item
from quantcheck.report.pairs import unlike_hashes
from quantcheck.report.quality import figure
from quantcheck.report.requests import meets
from quantcheck.report.speed import ratio_figure
from quantcheck.report.summary import CapacityRow, Figure, SpeedWord, Summary
from quantcheck.spec.load import SLO
from quantcheck.stats import (
    Crossing,
    crossing,
    interpolated,
    judge_speed,
    ratio_interval,
    summarize_crossings,
    t_interval,
)

__all__ = [
    "CAPACITY_WORDS",
    "Ladder",
    "capacity_grid",
    "capacity_rows",
    "ladders",
    "throughput_by_block",
]

CAPACITY_WORDS = (
    "Where the share of good requests falls to the SLO's, interpolated between the loads that were measured, in every "
    "block; the throughput is that at this load. `>=`: the highest load measured still meets the SLO."
)

CENSORED = "not every block's loads reach from meeting the SLO to not meeting it; measure more loads"


@dataclass(frozen=True)
class Ladder:
    """One workload's loads, ascending: how many streams or requests/s each is, and its cells' subject."""

    workload: str
    unit: Literal["streams", "requests/s"]
    rungs: Mapping[float, str]


def ladders(index: CellIndex) -> list[Ladder]:
    """Every workload's closed loop and open loop; a trace has neither."""
    load = index.experiment.load
    rungs: dict[tuple[str, Literal["streams", "requests/s"]], dict[float, str]] = {}
    for point in load.points() if load else ():
        if point.concurrency is not None:
            rungs.setdefault((point.name, "streams"), {})[float(point.concurrency)] = point.subject
        elif point.rate is not None:
            rungs.setdefault((point.name, "requests/s"), {})[point.rate] = point.subject
    return [Ladder(*which, dict(sorted(found.items()))) for which, found in rungs.items()]


def capacity_rows(index: CellIndex) -> list[CapacityRow]:
    """A row per workload (closed and open loop apart) and variant, the baseline first; empty without an SLO."""
    slo = index.experiment.slo
    if slo is None:
        return []
    return [_row(index, ladder, variant, slo) for ladder in ladders(index) for variant in index.variants]


def _row(index: CellIndex, ladder: Ladder, variant: str, slo: SLO) -> CapacityRow:
    blocks = _crossings(index, ladder, variant, slo)
    if not blocks:
        why = index.missing(variant, next(iter(ladder.rungs.values())))
        if any(index.load(variant, subject) for subject in ladder.rungs.values()):
            why = "no block holds every load of the workload"
        gone = Figure(reason=why)
        return CapacityRow(
            workload=ladder.workload, variant=variant, unit=ladder.unit, highest=gone, bound=None, ratio=gone,
            word=None, output_throughput=gone, input_throughput=gone, blocks=0, reason=why,
        )  # fmt: skip
    bound, interval = summarize_crossings(list(blocks.values()))
    least = next(iter(ladder.rungs))
    unit = "stream" if (least, ladder.unit) == (1, "streams") else ladder.unit
    lowest = f"{least:g} {unit}, the lowest load measured, does not meet the SLO"
    ratio, word, reason = _against_baseline(index, ladder, variant, slo)

    def at_that_load(key: str) -> Figure:
        values = list(_held(index, ladder, variant, slo, key).values())
        if not values or bound == "below":
            return Figure(reason=lowest if bound == "below" else f"{metric(key).label} is not in the stored cells")
        found = figure(t_interval(np.log(values)).map_exp())
        if len(values) < len(blocks):  # the blocks that are missing are the slow ones
            return Figure(value=found.value, reason=None if interval is None else interval.reason)
        return found

    return CapacityRow(
        workload=ladder.workload,
        variant=variant,
        unit=ladder.unit,
        highest=Figure(reason=lowest) if interval is None else figure(interval),
        bound=bound,
        ratio=ratio,
        word=word,
        output_throughput=at_that_load(THROUGHPUT),
        input_throughput=at_that_load("input_throughput"),
        blocks=len(blocks),
        blocks_below=sum(block.bound == "below" for block in blocks.values()),
        reason=reason or (lowest if interval is None else interval.reason),
    )


def _crossings(index: CellIndex, ladder: Ladder, variant: str, slo: SLO) -> dict[int, Crossing]:
    """Every block that holds all loads of the ladder, but those that are left out."""
    shares: dict[float, dict[int, float]] = {}
    for rung, subject in ladder.rungs.items():
        read = index.requests(variant, subject).items()
        shares[rung] = {block: float(np.mean(meets(r, slo)[r.own])) for block, r in read if r.own.any()}
    loads = np.array(list(ladder.rungs))
    gone = left_out(index, variant)
    whole = sorted(set.intersection(*(set(found) for found in shares.values())) - set(gone))
    return {
        block: crossing(loads, np.array([found[block] for found in shares.values()]), slo.share) for block in whole
    }


def _against_baseline(
    index: CellIndex, ladder: Ladder, variant: str, slo: SLO
) -> tuple[Figure, SpeedWord | None, str | None]:
    """Ratio, word and reason; the word is that of the load that a variant holds: more is `faster`."""
    if variant == index.baseline:
        return Figure(reason="is the baseline"), None, None
    for subject in ladder.rungs.values():
        ours, theirs = index.load(index.baseline, subject), index.load(variant, subject)
        for block in ours.keys() & theirs.keys():
            if unlike := unlike_hashes(ours[block], theirs[block]):
                return Figure(reason=unlike), "not comparable", unlike
    base, own = (_crossings(index, ladder, name, slo) for name in (index.baseline, variant))
    shared = sorted(base.keys() & own.keys())
    if not shared:
        reason = "no block holds every load for both this variant and the baseline"
        return Figure(reason=reason), None, reason
    bounds = [{side[block].bound for block in shared} for side in (base, own)]
    # A ratio of those blocks alone that happen to have one would be biased; a lower bound in every block is none.
    if bounds[0] != {"exact"} or "below" in bounds[1]:
        return Figure(reason=CENSORED), "inconclusive", CENSORED
    ratio = ratio_interval(np.log([own[block].load / base[block].load for block in shared]))
    verdict = judge_speed(
        ratio,
        higher_is_better=True,
        margin=index.experiment.policy.margin.throughput_ratio,
        floor=_noise(index, ladder, base, slo),
    )
    if "at least" not in bounds[1]:
        return ratio_figure(ratio), verdict.word, verdict.reason
    if verdict.word == "faster":
        return Figure(reason=f"at least {ratio.estimate:.2f}x"), "faster", None
    return Figure(reason=CENSORED), "inconclusive", CENSORED


def _noise(index: CellIndex, ladder: Ladder, base: Mapping[int, Crossing], slo: SLO) -> float | None:
    again = _crossings(index, ladder, index.again, slo)
    pairs = [(base[block], again[block]) for block in base.keys() & again.keys()]
    exact = [np.log(twin.load / first.load) for first, twin in pairs if first.bound == twin.bound == "exact"]
    return float(np.mean(exact)) if exact else None


def _held(index: CellIndex, ladder: Ladder, variant: str, slo: SLO, key: str) -> dict[int, float]:
    """A throughput at each block's own highest load, for blocks that have one."""
    by_load = [index.metric_by_block(variant, subject, key) for subject in ladder.rungs.values()]
    loads = np.array(list(ladder.rungs))
    return {
        block: interpolated(loads, np.array([found[block] for found in by_load]), at.load)
        for block, at in _crossings(index, ladder, variant, slo).items()
        if at.bound != "below" and all(block in found for found in by_load)
    }


def throughput_by_block(index: CellIndex, workload: str, variant: str, key: str = THROUGHPUT) -> dict[int, float]:
    """tokens/s at the highest load that meets the SLO, by block, on the workload's first ladder; costs rest on it."""
    slo = index.experiment.slo
    ladder = next((ladder for ladder in ladders(index) if ladder.workload == workload), None)
    return {} if slo is None or ladder is None else _held(index, ladder, variant, slo, key)


def capacity_grid(summary: Summary) -> Grid:
    """The highest load that meets the SLO, by workload."""
    columns = [Column("workload", flexible=True), VARIANT, Column("highest load", True), Column("95% CI"),
               Column("ratio", True), Column("95% CI"), Column("output, tok/s", True), WORDS]  # fmt: skip
    rows = []
    seen = set()
    for row in summary.capacity:
        head = (row.workload, row.unit)
        name = "" if head in seen else f"{row.workload}, {row.unit}"
        seen.add(head)
        highest, output = row.highest, row.output_throughput
        most = ">= " if row.bound == "at least" else ""
        baseline = row.variant == summary.experiment.baseline
        rows.append([
            Item(name), Item(row.variant),
            _item(highest, f"{most}{highest.value or 0:.3g}"),
            Item("" if highest.low is None else f"{highest.low:.3g}-{highest.high:.3g}", tone="quiet"),
            Item() if baseline else _item(row.ratio, figures.ratio(row.ratio)),
            Item("" if baseline else figures.interval(row.ratio, join="-"), tone="quiet"),
            _item(output, figures.value(output, THROUGHPUT, unit=False)),
            Item("baseline", tone="quiet") if baseline else _word(row),
        ])  # fmt: skip
    return Grid(columns, rows)


def _word(row: CapacityRow) -> Item:
    return Item(missing=row.reason or "not measured") if row.word is None else Item(row.word, tone=TONES[row.word])


def _item(of: Figure, text: str) -> Item:
    return Item(missing=of.reason) if of.value is None else Item(text)
