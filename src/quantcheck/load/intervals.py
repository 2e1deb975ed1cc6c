"""Intervals for one window alone, without blocks to compare: quantiles, rates and shares, each at 95%."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "PER_SLICE", "SLICES", "Bounds", "clustered_quantile", "mean_interval", "order_interval",
           "rate_interval", "wilson"]

LEVEL = 0.95
SLICES = (10, 30)
"""Fewest and most time slices for a rate's interval."""
PER_SLICE = 5
"""Requests that must end in a slice, on average."""
LEAST_CLUSTERS = 10

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Bounds = tuple[float, float]


def _tail() -> float:
    return (1 - LEVEL) / 2


def order_interval(values: FloatArray, q: float) -> Bounds | None:
    """Distribution-free interval of the `q` quantile of `values` [n], independent of each other.

    The l-th and u-th smallest value, l the greatest with P[Bin(n, q) < l] <= 2.5% and u the least with
    P[Bin(n, q) >= u] <= 2.5% (David and Nagaraja, Order Statistics, 3rd ed., section 7.1). None when n is too small to
    have both.
    """
    from scipy.special import bdtr

    n = len(values)
    if n == 0:
        return None
    below = bdtr(np.arange(n, dtype=np.float64), n, q)  # P[Bin <= k] for k = 0 ... n - 1
    lower = int(np.searchsorted(below, _tail(), side="right"))  # how many k have P[Bin <= k] <= 2.5%
    upper = int(np.searchsorted(below, 1 - _tail(), side="left")) + 1  # P[Bin <= u - 1] >= 97.5%
    if lower < 1 or upper > n:
        return None
    ordered = np.sort(values)
    return float(ordered[lower - 1]), float(ordered[upper - 1])


def clustered_quantile(values: FloatArray, clusters: IntArray, q: float) -> Bounds | None:
    """Interval of the `q` quantile of `values` [n] that come in `clusters` [n] (a request's tokens).

    Woodruff (1952): the share of values below the quantile is a ratio estimate over clusters; its t interval, read
    back through the sorted values. Values of one cluster may depend on each other in any way. None with fewer than 10
    clusters.
    """
    from scipy.special import stdtrit

    _, at, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    g, n = len(sizes), len(values)
    if g < LEAST_CLUSTERS:
        return None
    below = np.bincount(at, weights=values <= np.quantile(values, q), minlength=g)
    rest = below - float(below.sum()) / n * sizes
    half = float(stdtrit(g - 1, 1 - _tail())) * float(np.sqrt(g / (g - 1) * (rest @ rest))) / n
    low, high = np.quantile(values, [max(0.0, q - half), min(1.0, q + half)])
    return float(low), float(high)


def rate_interval(times: FloatArray, weights: FloatArray, length: float, slices: int) -> Bounds:
    """Interval of sum(weights) / length from batch means: `times` [n] in (0, length], cut into `slices` equal parts.

    Student's t over the slices' rates (Law, Simulation Modeling and Analysis, 5th ed., section 9.5.3); right as far as
    a slice is long against the time over which the load remembers.
    """
    places = np.clip(np.ceil(times / length * slices).astype(np.int64) - 1, 0, slices - 1)
    sums = np.bincount(places, weights=weights, minlength=slices)
    return mean_interval(sums * slices / length)


def mean_interval(values: FloatArray) -> Bounds:
    """Student's t interval of the mean of at least two independent `values`."""
    from scipy.special import stdtrit

    mean = float(values.mean())
    half = float(stdtrit(len(values) - 1, 1 - _tail())) * float(values.std(ddof=1)) / float(np.sqrt(len(values)))
    return mean - half, mean + half


def wilson(good: float, total: float, quantile: float | None = None) -> Bounds:
    """Wilson's score interval of a share (Wilson 1927), `good` of `total`; (0, 1) when `total` is 0.

    Counts may be fractional (deflated by a design effect). `quantile`: the number of standard errors; the normal's for
    95% when not given.
    """
    from scipy.special import ndtri

    if total <= 0:
        return 0.0, 1.0
    z = float(ndtri(1 - _tail())) if quantile is None else quantile
    share, weight = good / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * float(np.sqrt(max(0.0, share * (1 - share)) / total + weight / total / 4))
    low = 0.0 if good <= 0 else max(0.0, middle - half)
    return low, 1.0 if good >= total else min(1.0, middle + half)
