"""A figure with its interval, and the two intervals everything else is built from.

Both treat the unit that was sampled (an engine start, a document) as the unit of statistics: samples inside
a unit are not independent, so their number never narrows an interval by itself.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantcheck.stats.distributions import t_quantile

__all__ = ["FloatArray", "Interval", "ratio_of_sums", "t_interval", "weighted_mean"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its two-sided interval.

    `low` and `high` are None together, and then `reason` says why: an interval is refused, never guessed.
    `units` counts what the interval rests on (blocks, documents), `level` is its coverage.
    """

    estimate: float
    low: float | None
    high: float | None
    units: int
    level: float = 0.95
    reason: str | None = None

    def map_exp(self) -> "Interval":
        """The same interval for exp(quantity); exact, because exp is monotone."""
        low = None if self.low is None else float(np.exp(self.low))
        high = None if self.high is None else float(np.exp(self.high))
        return Interval(float(np.exp(self.estimate)), low, high, self.units, self.level, self.reason)


def t_interval(values: FloatArray, *, level: float = 0.95, unit: str = "block") -> Interval:
    """Student's t interval for the mean of `values` [k], one value per independent unit.

    With fewer than two units there is no interval. Raises `ValueError` when `values` is empty.
    """
    k = len(values)
    if k == 0:
        raise ValueError("t_interval needs at least one value")
    mean = float(np.mean(values))
    if k < 2:
        return Interval(mean, None, None, k, level, f"1 {unit}: an interval needs at least 2")
    half = float(t_quantile((1 + level) / 2, k - 1) * np.std(values, ddof=1) / np.sqrt(k))
    return Interval(mean, mean - half, mean + half, k, level)


def weighted_mean(weights: FloatArray, estimates: FloatArray, lows: FloatArray, highs: FloatArray) -> Interval:
    """The mean of independent `estimates` [k] and its interval out of theirs; `weights` [k] are scaled to a sum of 1.

    low = mean - sqrt(sum w^2 (estimate - low)^2), high likewise: MOVER, Zou and Donner 2008, Statist. Med. 27:1693.
    It keeps the estimates' own skew, and their level. Raises `ValueError` when there is none.
    """
    if not len(estimates):
        raise ValueError("weighted_mean needs at least one estimate")
    share = weights / weights.sum()
    mean = float(share @ estimates)
    below, above = (float(np.sqrt(np.sum((share * (estimates - end)) ** 2))) for end in (lows, highs))
    return Interval(mean, mean - below, mean + above, len(estimates))


def ratio_of_sums(
    sums: FloatArray, counts: FloatArray, *, level: float = 0.95, unit: str = "document"
) -> Interval:
    """Interval for sum(sums) / sum(counts), one pair per independent cluster; both [G].

    The linearised (Taylor) variance of a ratio estimator, Cochran, Sampling Techniques, 3rd ed., eq. 6.9 and
    2.46: var = G / (G - 1) sum_g (s_g - r m_g)^2 / (sum_g m_g)^2, with Student's t on G - 1 degrees of
    freedom. With clusters of one item it is the ordinary t interval of the mean.
    Raises `ValueError` when there is nothing to divide by.
    """
    clusters, total = len(sums), float(np.sum(counts))
    if clusters == 0 or total <= 0:
        raise ValueError("ratio_of_sums needs at least one cluster with a positive count")
    ratio = float(np.sum(sums)) / total
    if clusters < 2:
        return Interval(ratio, None, None, clusters, level, f"1 {unit}: an interval needs at least 2")
    residual = sums - ratio * counts
    variance = clusters / (clusters - 1) * float(residual @ residual) / total**2
    half = float(t_quantile((1 + level) / 2, clusters - 1)) * float(np.sqrt(variance))
    return Interval(ratio, ratio - half, ratio + half, clusters, level)
