"""Figures of two sides of which nothing is paired: only each side's estimate and its standard error are known.

What the two share (hard items, hard text) does not cancel, so the intervals are wider than paired ones. The two are
taken as independent; where they answered the same items, right answers go together, and the true error is smaller.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from quantcheck.stats.distributions import normal_quantile

__all__ = ["ApartResult", "compare_apart", "judge_apart_perplexity", "share_error"]


@dataclass(frozen=True, slots=True)
class ApartResult:
    """A task's change of accuracy, as fractions; the fields mean what `PairedResult`'s mean.

    `n`: items of the smaller side. `item_spread`: n times the variance of delta, as psi is for paired items.
    """

    n: int
    delta: float
    margin: float
    low: float
    high: float
    lower_bound: float
    upper_bound: float
    z: float
    p: float
    p_safe: float
    p_harmed: float
    item_spread: float
    design_effect: float = 1.0


def share_error(right: float, n: int) -> float:
    """Standard error of a share `right` of `n` answers, with two right and two wrong ones more than were seen
    (Agresti and Coull 1998, The American Statistician 52:119-126): none seen wrong is not none at all."""
    share = (right * n + 2) / (n + 4)
    return float(np.sqrt(share * (1 - share) / (n + 4)))


def compare_apart(
    ours: tuple[float, float], theirs: tuple[float, float], n: int, *, margin: float
) -> ApartResult:
    """Normal test of theirs - ours, each (accuracy, standard error) out of about `n` items.

    Raises `ValueError` where both errors are 0: then nothing is known of the difference's.
    """
    error = float(np.hypot(ours[1], theirs[1]))
    if error <= 0:
        raise ValueError("two shares without any error cannot be compared")
    delta = theirs[0] - ours[0]
    half, one_sided = normal_quantile(0.975) * error, normal_quantile(0.95) * error
    z = delta / error
    low, high, lower, upper = (float(np.clip(end, -1.0, 1.0)) for end in (
        delta - half, delta + half, delta - one_sided, delta + one_sided))
    return ApartResult(
        n, delta, margin, low, high, lower, upper,
        float(z), float(2 * special.ndtr(-abs(z))), float(special.ndtr(-(delta + margin) / error)),
        float(special.ndtr(z)), n * error**2,
    )  # fmt: skip


def judge_apart_perplexity(
    log_ratio: float, error: float, *, margin: float
) -> Literal["safe", "harmed", "inconclusive"]:
    """The word for a log ratio of perplexities and its standard error: one-sided 95% bounds, as `judge_perplexity`."""
    half = float(normal_quantile(0.95)) * error
    if log_ratio + half < np.log1p(margin):
        return "safe"
    return "harmed" if log_ratio - half > 0 else "inconclusive"
