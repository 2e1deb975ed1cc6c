"""The quantiles and tails that the statistics need, out of `scipy.special`.

`scipy.stats` has them too, under better names, but takes over a second to import; a user waits for that each time.
Arguments may be arrays.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

__all__ = ["binomial_cdf", "chi2_quantile", "normal_quantile", "t_cdf", "t_quantile"]


def normal_quantile(p: float) -> float:
    """The standard normal's quantile at probability `p`."""
    return float(special.ndtri(p))


def t_quantile(p: float, freedom: ArrayLike) -> Any:
    """Student's t quantile at probability `p`; with infinitely many degrees of freedom the normal's."""
    return np.where(np.isinf(freedom), special.ndtri(p), special.stdtrit(freedom, p))[()]


def t_cdf(x: ArrayLike, freedom: ArrayLike) -> Any:
    """P[T <= x] for Student's t; with infinitely many degrees of freedom the normal's."""
    return np.where(np.isinf(freedom), special.ndtr(x), special.stdtr(freedom, x))[()]


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P[X <= k] for X ~ Bin(n, p); 1 when n is 0."""
    return float(special.bdtr(k, n, p)) if k < n else 1.0


def chi2_quantile(p: float, freedom: float) -> float:
    """The chi-squared quantile at probability `p`."""
    return float(special.chdtri(freedom, 1 - p))
