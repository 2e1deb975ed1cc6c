"""Speed ratios variant / baseline with an interval from paired blocks.

The block (one engine start) is the unit. Each block gives one figure per variant, already summed over its
requests; the log ratio within a block cancels what the block's variants share (drift, clocks, temperature).
The interval is Student's t on the k log ratios. Their sample variance holds both levels of the hierarchy:
the variance between engine starts and, through the block's figure, the variance between its requests.

Why not a hierarchical bootstrap (blocks, then requests): over k blocks its standard error is too small by
sqrt((k - 1) / k) and its quantiles are normal, not t; drawing requests again inside the blocks counts their variance a
second time. Which error wins depends on how many requests a block has: with three blocks a nominal 95% interval
covers from below 80% to above 97% (benchmarks/speed_verdicts.py, docs/results/statistics/speed.txt). Log ratios of two
similar measurements are close to symmetric, for which t covers 94 to 96% even under heavy tails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quantcheck.stats.interval import FloatArray, t_interval

__all__ = ["Ratio", "block_log_ratios", "geometric_mean", "pooled", "ratio_interval", "speed_ratio"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """variant / baseline with its interval; `spread` is the standard deviation of the blocks' log ratios.

    `low`, `high` and `spread` are None together when the interval is refused; `reason` then says why.
    """

    estimate: float
    low: float | None
    high: float | None
    blocks: int
    spread: float | None
    reason: str | None = None


def block_log_ratios(baseline: Mapping[int, float], variant: Mapping[int, float]) -> dict[int, float]:
    """log(variant / baseline) for every block that both have; block number to figure.

    Figures that are not positive and finite cannot form a ratio; their blocks are left out.
    """
    shared = sorted(baseline.keys() & variant.keys())
    usable = [k for k in shared if all(np.isfinite(v) and v > 0 for v in (baseline[k], variant[k]))]
    return {k: float(np.log(variant[k] / baseline[k])) for k in usable}


def pooled(first: Mapping[int, float], again: Mapping[int, float]) -> dict[int, float]:
    """The baseline of each block from its two measurements: their geometric mean; block number to figure.

    A block whose second measurement is missing keeps its first. Of equal starts the mean has half the variance, so the
    interval of a ratio is sqrt(1.5 / 2) = 87% as wide, with the same coverage (benchmarks/speed_verdicts.py).
    """
    logs = block_log_ratios(first, again)
    return {block: value * float(np.exp(logs.get(block, 0.0) / 2)) for block, value in first.items()}


def ratio_interval(log_ratios: FloatArray, *, level: float = 0.95) -> Ratio:
    """The ratio and its interval from one log ratio per block [k]; `ValueError` when there is none."""
    inner = t_interval(log_ratios, level=level, unit="block")
    outer = inner.map_exp()
    spread = None if inner.low is None else float(np.std(log_ratios, ddof=1))
    return Ratio(outer.estimate, outer.low, outer.high, inner.units, spread, inner.reason)


def speed_ratio(
    baseline: Mapping[int, float], variant: Mapping[int, float], *, level: float = 0.95
) -> Ratio | None:
    """variant / baseline over the blocks that both have; None when they share no block."""
    logs = block_log_ratios(baseline, variant)
    return ratio_interval(np.array(list(logs.values())), level=level) if logs else None


def geometric_mean(loads: Sequence[Mapping[int, float]], *, level: float = 0.95) -> Ratio | None:
    """Geometric mean over loads of the ratio; `loads` holds each load's log ratio by block.

    The loads of one block share its engine start, so they are averaged within the block first and the blocks
    stay the unit. Only blocks that measured every load count: a block with some loads missing would compare
    different mixes. None when there is no such block.
    """
    if not loads:
        return None
    shared = sorted(set.intersection(*(set(load) for load in loads)))
    if not shared:
        return None
    means = np.array([np.mean([load[block] for load in loads]) for block in shared])
    return ratio_interval(means, level=level)
