"""How many blocks a speed question takes, before it is asked: from the spread that earlier runs showed.

An earlier spread is itself an estimate from few blocks. Planning with the estimate as it stands falls short in about
half of all cases; the upper 80% limit of it holds in four of five (Browne 1995, Statist. Med. 14:1933-1940).
"""

from collections.abc import Sequence

import numpy as np

from quantcheck.stats.distributions import chi2_quantile, normal_quantile, t_quantile
from quantcheck.stats.speed import MOST_BLOCKS

__all__ = ["blocks_for_margin", "detectable_ratio", "pooled_spread", "spread_limit"]

ASSURANCE = 0.8
"""How often the limit of an estimated spread lies above the true one."""


def pooled_spread(samples: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """The spread within samples of log ratios, and its degrees of freedom; None without a sample of two or more.

    sqrt(sum_j (k_j - 1) s_j^2 / sum_j (k_j - 1)): the mean of each sample is its own.
    """
    usable = [np.asarray(sample, dtype=np.float64) for sample in samples if len(sample) > 1]
    freedom = sum(len(sample) - 1 for sample in usable)
    if not freedom:
        return None
    squares = sum(float(np.sum((sample - sample.mean()) ** 2)) for sample in usable)
    return float(np.sqrt(squares / freedom)), freedom


def spread_limit(spread: float, freedom: int, *, assurance: float = ASSURANCE) -> float:
    """The upper limit of the true spread: spread sqrt(f / chi2), chi2 the quantile at 1 - assurance on f degrees."""
    return spread * float(np.sqrt(freedom / chi2_quantile(1 - assurance, freedom)))


def blocks_for_margin(spread: float, margin: float, *, power: float = 0.8) -> int | None:
    """Blocks at which two equal variants are told to be within the margin, with probability `power`.

    The t interval lies within +/- log(1 + margin) when |estimate| + t s / sqrt(k) is below it; the estimate of a true
    0 exceeds z_{(1 + power) / 2} s / sqrt(k) with probability 1 - power. At least 3; None beyond `MOST_BLOCKS`.
    """
    blocks = np.arange(3, MOST_BLOCKS + 1)
    reach = (t_quantile(0.975, blocks - 1) + normal_quantile((1 + power) / 2)) * spread / np.sqrt(blocks)
    enough = np.flatnonzero(reach <= np.log1p(margin))
    return int(blocks[enough[0]]) if len(enough) else None


def detectable_ratio(spread: float, blocks: int, *, power: float = 0.8) -> float | None:
    """The smallest true ratio above 1 that `blocks` blocks find, with probability `power`; None below 2 blocks.

    exp((t_{0.975} + t_{power}) spread / sqrt(k)), both quantiles on k - 1 degrees of freedom: slightly more than the
    noncentral t would say.
    """
    if blocks < 2:
        return None
    reach = float(t_quantile(0.975, blocks - 1) + t_quantile(power, blocks - 1)) * spread
    return float(np.exp(reach / np.sqrt(blocks)))
