"""Blocks: the baseline's figure in each, how far the machine moved in each, and which are left out."""

from collections.abc import Sequence

import numpy as np

from quantcheck.report.cells import CellIndex
from quantcheck.report.gpu import clock_lines, foreign_lines, heat_lines, windows_at
from quantcheck.report.records import cell_names
from quantcheck.report.row import NO_FLOOR
from quantcheck.report.summary import BlockRow, Figure, Summary
from quantcheck.stats import block_log_ratios, invalid_blocks, mean_by_block, pooled, trend_floor

__all__ = ["THROUGHPUT", "block_rows", "drift_lines", "figures_by_block", "left_out", "log_ratios", "mean_noise",
           "noise_of"]

THROUGHPUT = "output_throughput"
"""The metric that sums up a load in one figure, and tells drift."""


def figures_by_block(index: CellIndex, variant: str, load: str, key: str) -> dict[int, float]:
    """A metric's figure by block; positive ones only. The baseline's is the mean of its two measurements."""
    if variant != index.baseline:
        return _figures(index, variant, load, key)
    return pooled(_figures(index, variant, load, key), _figures(index, index.again, load, key))


def _figures(index: CellIndex, variant: str, load: str, key: str) -> dict[int, float]:
    slo = index.experiment.slo
    if key != "goodput" or slo is None:
        return index.metric_by_block(variant, load, key)
    return {block: rate for block, rate in index.goodput(variant, load).items() if rate > 0}


def log_ratios(index: CellIndex, variant: str, load: str, key: str) -> dict[int, float]:
    """log(variant / baseline) of the blocks that count for the variant.

    The twin is compared with the baseline's other measurement alone, in every block: their difference is the noise.
    """
    if variant == index.again:
        return block_log_ratios(*(_figures(index, name, load, key) for name in (index.baseline, index.again)))
    gone = left_out(index, variant)
    logs = block_log_ratios(*(figures_by_block(index, name, load, key) for name in (index.baseline, variant)))
    return {block: log for block, log in logs.items() if block not in gone}


def noise_of(index: CellIndex, variant: str, load: str, key: str) -> float | None:
    """What a log ratio must exceed: the baseline against itself, or what it changes by from a block's begin to its end.

    None when not measured, or when `variant` is the twin itself.
    """
    return _noise(index, variant, [load], key)


def mean_noise(index: CellIndex, variant: str, key: str) -> float | None:
    """The same of the mean over all loads."""
    return _noise(index, variant, index.loads, key)


def _noise(index: CellIndex, variant: str, loads: Sequence[str], key: str) -> float | None:
    logs = [log for load in loads if (log := log_ratios(index, index.again, load, key))]
    if variant == index.again or not logs:
        return None
    twin = float(np.mean([np.mean(list(log.values())) for log in logs]))
    return max(abs(twin), abs(trend_floor(mean_by_block([_later(index, load, key) for load in loads])) or 0.0))


def _later(index: CellIndex, load: str, key: str) -> dict[int, float]:
    """log(later / earlier) of the baseline's two measurements at one load, by block."""
    return {block: log if _twin_is_later(index, load, block) else -log
            for block, log in log_ratios(index, index.again, load, key).items()}


def _twin_is_later(index: CellIndex, load: str, block: int) -> bool:
    """By when the cells were measured, where they say so; by the order that was planned where they do not."""
    first, again = (index.load(name, load)[block].record.get("started_at") for name in (index.baseline, index.again))
    return block % 2 == 0 if first is None or again is None else bool(again > first)


def _drifts(index: CellIndex) -> dict[int, float]:
    return mean_by_block([_later(index, load, THROUGHPUT) for load in index.loads])


def left_out(index: CellIndex, variant: str) -> dict[int, float]:
    """Blocks that are invalid for `variant`, with their drift: a trend larger than its effect and the margin."""
    drifts = _drifts(index)
    if not drifts or variant in (index.baseline, index.again):
        return {}
    effects = mean_by_block([
        block_log_ratios(*(figures_by_block(index, name, load, THROUGHPUT) for name in (index.baseline, variant)))
        for load in index.loads
    ])
    if not effects:
        return {}
    effect = float(np.mean(list(effects.values())))
    gone = invalid_blocks(drifts, effect, index.experiment.policy.margin.throughput_ratio)
    return {block: drifts[block] for block in sorted(gone)}


def block_rows(index: CellIndex) -> list[BlockRow]:
    """A row per block that the baseline was measured in; without a noise floor only of blocks that are marked."""
    drifts = _drifts(index)
    measured = sorted({block for load in index.loads for block in index.load(index.baseline, load)})
    gone = {variant: left_out(index, variant) for variant in index.variants}
    floor = index.experiment.noise_floor
    missing = Figure(reason="the baseline's second measurement is missing") if floor else NO_FLOOR
    rows = [
        BlockRow(
            block=block,
            drift=Figure(value=drifts[block]) if block in drifts else missing,
            invalid_for=[variant for variant, blocks in gone.items() if block in blocks],
            marks=_marks(index, block),
            cells=cell_names(index.load(name, load).get(block) for load in index.loads
                             for name in (index.baseline, index.again)),
        )
        for block in measured
    ]
    return [row for row in rows if floor or row.marks]


def _marks(index: CellIndex, block: int) -> list[str]:
    """What the variants of one block did not share, by the GPU's telemetry; nothing is left out for it."""
    return [line for load in index.loads for find in (clock_lines, heat_lines, foreign_lines)
            for line in find(load, windows_at(index, load, block))]


def drift_lines(summary: Summary) -> list[str]:
    """What to know of the blocks, one sentence each; empty when no drift was measured and no block is marked."""
    rows = [(row, row.drift.value) for row in summary.blocks if row.drift.value is not None]
    lines = []
    if rows:
        most = max(abs(drift) for _, drift in rows)
        lines = [f"From a block's begin to its end {summary.experiment.baseline} changed by at most "
                 f"{np.expm1(most):.1%} ({len(rows)} block{'' if len(rows) == 1 else 's'})."]
    lines += [f"Block {row.block + 1} ({np.expm1(drift):+.1%}) is left out for {', '.join(row.invalid_for)}: the "
              "machine moved more than they differ." for row, drift in rows if row.invalid_for]
    return lines + [f"Block {row.block + 1} is marked: {'; '.join(row.marks)}." for row in summary.blocks if row.marks]
