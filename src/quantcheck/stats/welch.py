"""Two runs that share no block: the ratio of their means on the log scale, by Welch's t.

Within one run a block holds both variants, and what the machine does to both cancels. Between two runs there is no such
pair: each run's blocks give a mean and a variance of their own, and the two need not be alike. What moved between the
runs as a whole (another day, another room temperature) is in no block's variance; the caller holds the effect against
what the runs' common baseline shows (`judge_speed`'s floor).
"""

import numpy as np

from quantcheck.stats.distributions import t_quantile
from quantcheck.stats.interval import FloatArray
from quantcheck.stats.ratio import Ratio

__all__ = ["unpaired_ratio", "welch_interval"]


def welch_interval(ours: FloatArray, theirs: FloatArray, *, level: float = 0.95) -> tuple[float, float, float]:
    """Interval of mean(theirs) - mean(ours) and its degrees of freedom: (low, high, freedom); [k] and [m].

    Unequal variances, freedom by Welch (1947) and Satterthwaite (1946). `ValueError` with fewer than two values on a
    side. Two sides without any variance give an interval of no width and infinitely many degrees of freedom.
    """
    if min(len(ours), len(theirs)) < 2:
        raise ValueError(f"Welch's interval needs two values on each side, not {len(ours)} and {len(theirs)}")
    parts = np.array([np.var(side, ddof=1) / len(side) for side in (ours, theirs)])
    variance = float(parts.sum())
    difference = float(np.mean(theirs) - np.mean(ours))
    if variance == 0.0:
        return difference, difference, float("inf")
    freedom = variance**2 / float(np.sum(parts**2 / np.array([len(ours) - 1, len(theirs) - 1])))
    half = float(t_quantile((1 + level) / 2, freedom)) * float(np.sqrt(variance))
    return difference - half, difference + half, freedom


def unpaired_ratio(ours: FloatArray, theirs: FloatArray, *, level: float = 0.95) -> Ratio:
    """theirs / ours from the blocks' logarithms, [k] and [m], with Welch's interval.

    `blocks` is the smaller number; `spread` is sqrt(var ours + var theirs), so that spread / sqrt(k) is the standard
    error with k blocks on each side, as `blocks_to_settle` takes it. `ValueError` when a side is empty.
    """
    if not (len(ours) and len(theirs)):
        raise ValueError("a ratio needs at least one block on each side")
    estimate, blocks = float(np.exp(np.mean(theirs) - np.mean(ours))), min(len(ours), len(theirs))
    if blocks < 2:
        return Ratio(estimate, None, None, blocks, None, "1 block on one side: an interval needs at least 2 on each")
    low, high, _ = welch_interval(ours, theirs, level=level)
    spread = float(np.sqrt(np.var(ours, ddof=1) + np.var(theirs, ddof=1)))
    return Ratio(estimate, float(np.exp(low)), float(np.exp(high)), blocks, spread)
