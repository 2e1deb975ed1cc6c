"""The quantiles and tails that the statistics need, out of `scipy.special`.

`scipy.stats` has them too, under better names, but takes over a second to import; a user waits for that each time.
Arguments may be arrays.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

__all__ = ["binomial_cdf", "normal_quantile", "t_cdf", "t_quantile"]


def normal_quantile(p: float) -> float:
    """The standard normal's quantile at probability `p`."""
    return float(special.ndtri(p))


def t_quantile(p: float, freedom: ArrayLike) -> Any:
    """Student's t quantile at probability `p`; with infinitely many degrees of freedom the normal's."""
    return np.where(np.isinf(freedom), special.ndtri(p), special.stdtrit(freedom, p))[()]


def t_cdf(x: float, freedom: float) -> float:
    """P[T <= x] for Student's t; with infinitely many degrees of freedom the normal's."""
    return float(special.ndtr(x) if np.isinf(freedom) else special.stdtr(freedom, x))


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P[X <= k] for X ~ Bin(n, p); 1 when n is 0."""
    return float(special.bdtr(k, n, p)) if k < n else 1.0
