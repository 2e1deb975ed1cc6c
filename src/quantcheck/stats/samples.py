"""Intervals of a share and of a quantile that assume nothing about what the sample was drawn from."""

import math

import numpy as np
import numpy.typing as npt

from quantcheck.stats.distributions import binomial_cdf, normal_quantile
from quantcheck.stats.interval import Interval

__all__ = ["quantile_interval", "share_interval"]


def share_interval(hits: int, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of `hits` of `n` independent units (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    Raises `ValueError` when n is 0.
    """
    if n < 1:
        raise ValueError("share_interval needs at least one unit")
    z, share = normal_quantile((1 + level) / 2), hits / n
    middle, scale = share + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n one end is the share itself: rounding must not put it a hair beyond.
    low = 0.0 if hits == 0 else (middle - half) / scale
    high = 1.0 if hits == n else (middle + half) / scale
    return Interval(share, low, high, n, level)


def quantile_interval(values: npt.NDArray[np.floating], quantile: float, *, level: float = 0.95,
                      unit: str = "document") -> Interval:
    """The `quantile` of `values` [n] with the interval between two order statistics.

    The l-th smallest is below the true quantile q unless fewer than l of n units are, so that l is the largest with
    P[Bin(n, q) < l] <= (1 - level) / 2, and the upper end likewise (David and Nagaraja, Order Statistics, 3rd ed.,
    section 7.1). Refused where n is too small to have such ends. Raises `ValueError` when `values` is empty.
    """
    n = len(values)
    if n < 1:
        raise ValueError("quantile_interval needs at least one value")
    ordered, side = np.sort(values), (1 - level) / 2
    estimate = float(np.quantile(ordered, quantile))
    below = [at for at in range(1, n + 1) if binomial_cdf(at - 1, n, quantile) <= side]
    above = [at for at in range(1, n + 1) if 1 - binomial_cdf(at - 1, n, quantile) <= side]
    if not below or not above:
        return Interval(estimate, None, None, n, level, f"{n} {unit}s: too few for an interval of this quantile")
    return Interval(estimate, float(ordered[below[-1] - 1]), float(ordered[above[0] - 1]), n, level)
