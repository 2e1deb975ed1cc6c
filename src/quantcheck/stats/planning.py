"""What a sample can show, before it is paid for: differences, items needed, percentiles supported."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from quantcheck.stats.distributions import binomial_cdf, normal_quantile

__all__ = [
    "PERCENTILE_SUPPORT",
    "items_for_noninferiority",
    "items_to_detect",
    "minimum_detectable_difference",
    "requests_for_percentile",
    "supported_percentile",
]


def minimum_detectable_difference(psi: float, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true change of accuracy that `n` paired items find: (z + z') sqrt(psi / n), z + z' = 2.80.

    `psi` is the share of items that flip. Two-sided test at `alpha`; result is a fraction.
    """
    return float((normal_quantile(1 - alpha / 2) + normal_quantile(power)) * np.sqrt(psi / n))


def items_for_noninferiority(
    psi: float, margin: float, *, delta: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Items for a `safe` verdict: psi (1.645 + 0.842)^2 / margin^2 when the true change `delta` is 0.

    With another true change the distance to the margin, margin + delta, takes its place; infinite when the
    true loss is the margin or more. Fractions, one-sided test at `alpha`.
    """
    distance = margin + delta
    if distance <= 0:
        return float("inf")
    return float((psi - delta**2) * (normal_quantile(1 - alpha) + normal_quantile(power)) ** 2 / distance**2)


def items_to_detect(psi: float, delta: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Items for a `harmed` verdict when the true change is `delta` (a fraction, not 0), one-sided `alpha`."""
    return float((psi - delta**2) * (normal_quantile(1 - alpha) + normal_quantile(power)) ** 2 / delta**2)


def requests_for_percentile(quantile: float, *, confidence: float = 0.99) -> int:
    """Requests below which a percentile is refused: the fewest with two or more beyond it, at `confidence`.

    P[Bin(n, 1 - quantile) <= 1] <= 1 - confidence. With at most one sample beyond it the percentile is the
    sample's maximum, or a guess between its two largest values.
    """
    tail = 1.0 - quantile
    low, high = 2, int(np.ceil(20.0 / tail))
    while low < high:
        middle = (low + high) // 2
        if binomial_cdf(1, middle, tail) <= 1.0 - confidence:
            high = middle
        else:
            low = middle + 1
    return low


PERCENTILE_SUPPORT: Mapping[str, int] = MappingProxyType({"p90": 64, "p95": 130, "p99": 662, "p99.9": 6_636})
"""`requests_for_percentile` of the percentiles that reports show."""


def supported_percentile(name: str, n: int) -> bool:
    """Whether `n` requests support the percentile `name` (a key of `PERCENTILE_SUPPORT`)."""
    return n >= PERCENTILE_SUPPORT[name]
