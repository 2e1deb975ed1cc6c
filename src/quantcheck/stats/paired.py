"""Two variants answered the same items: flips, exact McNemar, and a score interval for the difference.

Words: an item is `lost` when the baseline is right and the variant wrong (b), `gained` in the reverse case
(c). delta = (c - b) / n, psi = (b + c) / n. Nothing here assumes normal counts: with b + c = 0 the interval
is as wide as n items without a flip allow, not zero.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike
from scipy import optimize

from quantcheck.stats.distributions import binomial_cdf

__all__ = ["Flips", "count_flips", "mcnemar_p", "score_interval", "score_z"]

BoolArray = npt.NDArray[np.bool_]

EDGE = 1.0 - 1e-12  # the score statistic is defined inside (-1, 1) only


@dataclass(frozen=True, slots=True)
class Flips:
    """Paired outcomes of `n` items, counted."""

    n: int
    both: int
    lost: int
    gained: int

    @property
    def delta(self) -> float:
        """Change of accuracy, as a fraction."""
        return (self.gained - self.lost) / self.n

    @property
    def psi(self) -> float:
        """Share of items that flipped."""
        return (self.gained + self.lost) / self.n


def count_flips(baseline: BoolArray, variant: BoolArray) -> Flips:
    """Count paired outcomes; both [n], item i of one is item i of the other.

    Raises `ValueError` when the lengths differ or there are no items.
    """
    if len(baseline) != len(variant) or len(baseline) == 0:
        raise ValueError(f"cannot pair {len(baseline)} baseline items with {len(variant)} variant items")
    both = int(np.sum(baseline & variant))
    lost, gained = int(np.sum(baseline & ~variant)), int(np.sum(~baseline & variant))
    return Flips(len(baseline), both, lost, gained)


def mcnemar_p(lost: int, gained: int) -> float:
    """Exact two-sided McNemar: min(1, 2 P[Bin(b + c, 1/2) <= min(b, c)]); 1 when nothing flipped."""
    return min(1.0, 2.0 * binomial_cdf(min(lost, gained), lost + gained, 0.5))


def score_z(gained: ArrayLike, lost: ArrayLike, n: ArrayLike, delta: float) -> Any:
    """Score statistic of H0: true difference = `delta` (Tango 1998, Statist. Med. 17:891-908).

    (c - b - n delta) / sqrt(n (2 q + delta (1 - delta))), q the constrained maximum likelihood estimate of
    P(lost). Counts may be arrays of one shape, and need not be whole (see `stats.clusters`). The sign is that of
    observed minus `delta`.
    """
    b, c, items = (np.asarray(counts, dtype=np.float64) for counts in (lost, gained, n))
    half_b = -c - b + (2 * items - c + b) * delta
    product = -b * delta * (1 - delta)
    root = np.sqrt(np.maximum(half_b * half_b - 8 * items * product, 0.0))
    difference = c - b - items * delta
    with np.errstate(divide="ignore", invalid="ignore"):
        # Two forms of one root: the one that adds numbers of like sign loses no digits.
        q = np.where(half_b <= 0, (root - half_b) / (4 * items), (-2 * product) / (root + half_b))
        variance = items * (2 * q + delta * (1 - delta))
        certain = np.where(difference == 0, 0.0, np.copysign(np.inf, difference))
        return np.where(variance > 0, difference / np.sqrt(variance), certain)[()]


@lru_cache(maxsize=10_000)
def score_interval(
    gained: float, lost: float, n: float, quantile: float, upper: float | None = None
) -> tuple[float, float]:
    """All differences that the score test does not reject at `quantile` (1.96: a two-sided 95% interval).

    `upper`: another quantile for the upper end.
    """

    def edge(end: float, target: float) -> float:
        centre = min(max((gained - lost) / n, -EDGE), EDGE)

        def gap(delta: float) -> float:
            return float(score_z(gained, lost, n, delta)) - target

        if gap(end) * gap(centre) >= 0:
            return float(np.sign(end)) if abs(centre) < EDGE or np.sign(centre) == np.sign(end) else centre
        return float(optimize.brentq(gap, min(centre, end), max(centre, end), xtol=1e-13, rtol=1e-13))

    return edge(-EDGE, quantile), edge(EDGE, -(quantile if upper is None else upper))
