"""The highest load that meets an SLO, from a ladder of loads measured in every block.

Per block: the share of good requests falls with the load; where it crosses the share that the SLO asks for, by linear
interpolation against the logarithm of the load, is the block's capacity. A share that rises again is noise, so the
shares are first made to fall by isotonic regression (Barlow et al. 1972), which averages neighbours that are out of
order. Over blocks: Student's t on the logarithms, as for every speed figure. Nothing is extrapolated: a block whose
highest load still meets the SLO, or whose lowest does not, is censored, and a censored block takes the interval away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize

from quantcheck.stats.interval import FloatArray, Interval, t_interval

__all__ = ["Bound", "Crossing", "crossing", "interpolated", "summarize_crossings"]

Bound = Literal["exact", "at least", "below"]


@dataclass(frozen=True, slots=True)
class Crossing:
    """`load`: where the share crosses; the highest of the ladder when `at least`, the lowest when `below`."""

    load: float
    bound: Bound


def crossing(loads: FloatArray, shares: FloatArray, target: float) -> Crossing:
    """The load at which `shares` [m] of good requests falls to `target`; `loads` [m] positive and ascending.

    Raises `ValueError` when there is no load, or they do not ascend.
    """
    if len(loads) == 0 or len(loads) != len(shares) or loads[0] <= 0 or np.any(np.diff(loads) <= 0):
        raise ValueError(f"loads must be positive and ascend, one share each; got {loads} and {shares}")
    falling = optimize.isotonic_regression(shares, increasing=False).x
    fails = np.flatnonzero(falling < target - 1e-12)  # a mean of equal shares may miss them by a rounding
    if not len(fails):
        return Crossing(float(loads[-1]), "at least")
    bad = int(fails[0])
    if bad == 0:
        return Crossing(float(loads[0]), "below")
    good = bad - 1
    part = max(0.0, (falling[good] - target) / (falling[good] - falling[bad]))
    logs = np.log(loads)
    return Crossing(float(np.exp(logs[good] + part * (logs[bad] - logs[good]))), "exact")


def interpolated(loads: FloatArray, figures: FloatArray, at: float) -> float:
    """The figure at the load `at`, linear between the ladder's rungs in both logarithms; both [m], positive.

    Outside the ladder: the figure of its end.
    """
    return float(np.exp(np.interp(np.log(at), np.log(loads), np.log(figures))))


def summarize_crossings(blocks: Sequence[Crossing]) -> tuple[Bound, Interval | None]:
    """All blocks together: (`exact`, geometric mean with its interval) when no block is censored.

    With censored blocks the lower median of the blocks tells the bound, and its load, without an interval; None when
    that block's lowest load does not meet the SLO. Raises `ValueError` without blocks.
    """
    if not blocks:
        raise ValueError("no block to summarize")
    if all(block.bound == "exact" for block in blocks):
        return "exact", t_interval(np.log([block.load for block in blocks])).map_exp()
    rank = {"below": 0, "exact": 1, "at least": 2}
    middle = sorted(blocks, key=lambda block: (rank[block.bound], block.load))[(len(blocks) - 1) // 2]
    counts = {bound: sum(block.bound == bound for block in blocks) for bound in ("at least", "below")}
    told = {
        "at least": "the highest load measured still meets the SLO",
        "below": "the lowest load measured does not meet the SLO",
    }
    reason = "; ".join(f"in {counts[bound]} of {len(blocks)} blocks {words}" for bound, words in told.items()
                       if counts[bound])
    if middle.bound == "below":
        return "below", None
    return middle.bound, Interval(middle.load, None, None, len(blocks), reason=reason)
