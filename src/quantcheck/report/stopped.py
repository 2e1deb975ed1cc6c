"""The word of a task under `stop: early`, recomputed from its items table: nothing stored about the stop is trusted."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import optimize

from quantcheck.report.answers import Compared
from quantcheck.report.cells import Cell
from quantcheck.report.pairs import Pair
from quantcheck.report.summary import Stopped
from quantcheck.stats.sequential import look_order, paths

__all__ = ["Looked", "judge_looks", "looked"]

FloatArray = npt.NDArray[np.float64]

MOST_E = 1e300
EDGE = 0.999


@dataclass(frozen=True, slots=True)
class Looked:
    """A task as it was looked at: the differences [items] in that order, and how many items there are."""

    differences: FloatArray
    of: int


def looked(baseline: Cell, variant: Cell, pair: Pair) -> Looked | str | None:
    """How `variant` was looked at; None when its task has a fixed size; a sentence when the order is not the drawn one.

    The order must be the one that the stored seed gives for the ids that the baseline answered: an order chosen
    afterwards could make a stop.
    """
    early = variant.record["result"].get("early")
    if early is None:
        return None
    every = _in_order(baseline.table("items")["id"])
    seen = _in_order(variant.table("items")["id"])
    drawn = every[look_order(every.tolist(), int(early["order_seed"]))]
    if not np.array_equal(drawn[: len(seen)], seen):
        return "its items are not in the order that its seed gives: nothing can be said about when it was ended"
    shares = _share(pair.variant) - _share(pair.baseline)
    return Looked(shares[np.searchsorted(pair.ids, seen)], len(every))


def _in_order(ids: npt.NDArray[np.object_]) -> npt.NDArray[np.str_]:
    """Each id once, in the order of its first row."""
    names = np.asarray(ids).astype(str)
    _, first = np.unique(names, return_index=True)
    return names[np.sort(first)]


def _share(right: npt.NDArray[np.bool_]) -> FloatArray:
    return right.astype(np.float64) if right.ndim == 1 else right.mean(axis=1)


def judge_looks(result: Compared, looks: Looked) -> tuple[Compared, Stopped]:
    """`result` with p-values and intervals that hold at every look in place of those of a fixed size."""
    safe, harmed = paths(looks.differences, result.margin)
    # A process begins at 1.
    e_safe, e_harmed = (float(np.exp(min(path.max(initial=0.0), np.log(MOST_E)))) for path in (safe, harmed))
    low, high = _interval(looks.differences, 0.025)
    lower, upper = _interval(looks.differences, 0.05)
    held = replace(result, p_safe=1 / e_safe, p_harmed=1 / e_harmed,
                   low=low, high=high, lower_bound=lower, upper_bound=upper)  # fmt: skip
    return held, Stopped(items=len(looks.differences), of=looks.of, e_safe=e_safe, e_harmed=e_harmed)


def _interval(differences: FloatArray, alpha: float) -> tuple[float, float]:
    """The means that no look rejects, `alpha` at each end (a confidence sequence, Waudby-Smith and Ramdas 2024)."""
    return _lowest(differences, alpha), -_lowest(-differences, alpha)


def _lowest(differences: FloatArray, alpha: float) -> float:
    """The largest mean m such that H0: mean <= m is rejected at some look: the test of `safe` with margin -m.

    Above 0 the values are moved and scaled so that they keep within [-1, 1], where no bet can lose everything.
    """

    def evidence(mean: float) -> float:
        path = paths(differences, -mean) if mean < 0 else paths((differences - mean) / (1 + mean), 0.0)
        return float(path[0].max()) + float(np.log(alpha))

    if evidence(-EDGE) < 0:
        return -1.0
    top = min(max(float(differences.mean()), -EDGE), EDGE)
    if evidence(top) >= 0:
        return top
    return float(optimize.brentq(evidence, -EDGE, top, xtol=1e-6))
