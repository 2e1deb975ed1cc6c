"""Answers drawn at a temperature, K for each item: the item stays the unit, however many draws it has.

d_i = mean of the variant's draws - mean of the baseline's, in [-1, 1]; delta = mean d. More draws narrow d_i, but not
how items differ: Var(delta) = [omega^2 + sA^2/KA + sB^2/KB] / n (Miller 2024, arXiv:2411.00640), where omega^2 is the
variance over items of the true difference and sA^2, sB^2 the mean variances of a single draw within an item.

The tests are those of single answers, on fractional flips: lost = sum max(-d, 0), gained = sum max(d, 0). As |d| <= 1
their score test is wider than d's own variance by sum |d| / sum d^2, which is taken back as a design effect below 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from quantcheck.stats.clusters import INDEPENDENT, Clustering, clustering
from quantcheck.stats.interval import FloatArray
from quantcheck.stats.paired import Flips

__all__ = ["DrawsResult", "compare_draws", "share_test", "within_item_variance"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DrawsResult:
    """One task, variant against baseline, several draws an item; fields as in `PairedResult`, but:

    `flips` counts items whose share of right draws fell (lost) or rose (gained); both: right in every draw of both.
    `delta`: of the shares. `p`: two-sided, Student's t or normal, there being no exact McNemar. `item_variance`:
    omega^2, an unbiased estimate, so that it can be below 0; `draw_variance`: sA^2 + sB^2. Both None with one draw.
    `item_spread`: variance of d, one more item that flips counted. `design_effect`: of groups alone.
    """

    flips: Flips
    margin: float
    delta: float
    low: float
    high: float
    lower_bound: float
    upper_bound: float
    p: float
    p_safe: float
    p_harmed: float
    design_effect: float
    groups: int | None
    item_variance: float | None
    draw_variance: float | None
    item_spread: float


def within_item_variance(right: BoolArray) -> float | None:
    """Mean over items of the variance of a single draw, unbiased; `right` [n, K]. None when K is 1."""
    draws = right.shape[1]
    if draws < 2:
        return None
    share = right.mean(axis=1)
    return float(np.mean(share * (1 - share)) * draws / (draws - 1))


def share_test(differences: FloatArray, found: Clustering = INDEPENDENT) -> tuple[Clustering, FloatArray, FloatArray]:
    """The test of the mean of `differences` [..., n] of items, each in [-1, 1]; its gained and lost [...].

    `found`: what groups do to it.
    """
    gained, lost = (np.maximum(side, 0).sum(axis=-1) for side in (differences, -differences))
    # One flipped item more in both sums: a few small differences do not prove that all are small.
    fraction = ((differences**2).sum(axis=-1) + 1) / (gained + lost + 1)
    # Few items that differ: their spread is a guess, and Student's t says so. All equal: the plain score test.
    differ = np.count_nonzero(differences, axis=-1)
    few = (fraction < 1) & (differ > 1)
    freedom = np.where(few, np.minimum(found.freedom, np.maximum(differ - 1, 1)), found.freedom)
    return replace(found, effect=found.effect * fraction, freedom=freedom), gained, lost


def compare_draws(
    baseline: BoolArray, variant: BoolArray, *, margin: float, groups: Sequence[str] | None = None
) -> DrawsResult:
    """Compare right/wrong draws, baseline [n, KA] and variant [n, KB], of the same n items; `groups` [n].

    Raises `ValueError` when the two cannot be paired.
    """
    shapes = baseline.shape, variant.shape
    if baseline.ndim != 2 or variant.ndim != 2 or len(baseline) != len(variant) or 0 in (*shapes[0], *shapes[1]):
        raise ValueError(f"cannot pair draws {shapes[0]} of the baseline with draws {shapes[1]} of the variant")
    n = len(baseline)
    d = variant.mean(axis=1) - baseline.mean(axis=1)
    found = clustering(d, groups)
    test, gained, lost = share_test(d, found)
    counts = float(gained), float(lost), float(n)
    low, high = test.interval(*counts, 0.975)
    lower, upper = test.interval(*counts, 0.95)
    fell, rose = float(test.p_above(*counts, 0.0)), float(test.p_below(*counts, 0.0))
    both = int(np.sum(baseline.all(axis=1) & variant.all(axis=1)))
    item, draw = _decomposed(d, baseline, variant)
    return DrawsResult(
        Flips(n, both, int(np.sum(d < 0)), int(np.sum(d > 0))), margin, float(d.mean()), low, high, lower, upper,
        p=min(1.0, 2 * min(fell, rose)), p_safe=float(test.p_below(*counts, -margin)), p_harmed=fell,
        design_effect=found.effect, groups=found.groups, item_variance=item, draw_variance=draw,
        item_spread=(float(d @ d) + 1) / (n + 2),
    )  # fmt: skip


def _decomposed(d: FloatArray, baseline: BoolArray, variant: BoolArray) -> tuple[float | None, float | None]:
    ours, theirs = within_item_variance(baseline), within_item_variance(variant)
    if ours is None or theirs is None or len(d) < 2:
        return None, None
    total = float(np.var(d, ddof=1))
    return total - ours / baseline.shape[1] - theirs / variant.shape[1], ours + theirs
