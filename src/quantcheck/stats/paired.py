"""Two variants answered the same items: flips, exact McNemar, and a score interval for the difference.

Words: an item is `lost` when the baseline is right and the variant wrong (b), `gained` in the reverse case
(c). delta = (c - b) / n, psi = (b + c) / n. Nothing here assumes normal counts: with b + c = 0 the interval
is as wide as n items without a flip allow, not zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize

from quantcheck.stats.distributions import binomial_cdf

__all__ = [
    "FEWEST_GROUPS",
    "Flips",
    "clustered_se",
    "count_flips",
    "design_effect",
    "mcnemar_p",
    "score_interval",
    "score_z",
]

BoolArray = npt.NDArray[np.bool_]

FEWEST_GROUPS = 10
"""With fewer groups a clustered variance is itself too uncertain; such groups are slices, not clusters."""

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


def score_z(gained: float, lost: float, n: float, delta: float) -> float:
    """Score statistic of H0: true difference = `delta` (Tango 1998, Statist. Med. 17:891-908).

    (c - b - n delta) / sqrt(n (2 q + delta (1 - delta))), q the constrained maximum likelihood estimate of
    P(lost). Counts need not be whole (see `design_effect`). The sign is that of observed minus `delta`.
    """
    half_b = -gained - lost + (2 * n - gained + lost) * delta
    product = -lost * delta * (1 - delta)
    root = float(np.sqrt(max(half_b * half_b - 8 * n * product, 0.0)))
    # Two forms of one root: the one that adds numbers of like sign loses no digits.
    q = (root - half_b) / (4 * n) if half_b <= 0 else (-2 * product) / (root + half_b)
    variance = n * (2 * q + delta * (1 - delta))
    difference = gained - lost - n * delta
    if variance <= 0:
        return 0.0 if difference == 0 else float(np.copysign(np.inf, difference))
    return float(difference / np.sqrt(variance))


def score_interval(gained: float, lost: float, n: float, quantile: float) -> tuple[float, float]:
    """All differences that the score test does not reject at `quantile` (1.96: a two-sided 95% interval)."""

    def edge(end: float, target: float) -> float:
        centre = min(max((gained - lost) / n, -EDGE), EDGE)

        def gap(delta: float) -> float:
            return score_z(gained, lost, n, delta) - target

        if gap(end) * gap(centre) >= 0:
            return float(np.sign(end)) if abs(centre) < EDGE or np.sign(centre) == np.sign(end) else centre
        return float(optimize.brentq(gap, min(centre, end), max(centre, end), xtol=1e-13, rtol=1e-13))

    return edge(-EDGE, quantile), edge(EDGE, -quantile)


def clustered_se(differences: npt.NDArray[np.float64], groups: Sequence[str]) -> float:
    """SE of the mean of `differences` [n] when items come in groups.

    (1/n) sqrt(G/(G-1) sum_g (sum_{i in g} (d_i - mean))^2); Miller 2024, arXiv:2411.00640, with the usual
    small-sample factor. Needs at least two groups.
    """
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(member, weights=differences - differences.mean())
    count = len(sums)
    return float(np.sqrt(count / (count - 1) * (sums @ sums)) / len(differences))


def design_effect(
    baseline: BoolArray, variant: BoolArray, groups: Sequence[str] | None
) -> tuple[float, int | None]:
    """How much less the items tell because they come in groups, and the number of groups that count.

    (clustered SE / independent SE)^2, never below 1; dividing all counts by it gives the effective counts on
    which the score test stays usable when flips are few (Rao and Scott 1992, Biometrics 48:577-585).
    (1, None) when items are not grouped, or in fewer than `FEWEST_GROUPS` groups.
    """
    if groups is None:
        return 1.0, None
    count = len(set(groups))
    if count < FEWEST_GROUPS or count == len(baseline):
        return 1.0, None
    differences = variant.astype(np.float64) - baseline
    independent = float(np.var(differences) / len(differences))
    if independent == 0.0:
        return 1.0, count
    return max(1.0, clustered_se(differences, groups) ** 2 / independent), count
