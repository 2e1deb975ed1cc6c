"""Two accuracies compared as if they came from different items: what pairing is measured against, not a verdict."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from quantcheck.stats.distributions import normal_quantile

__all__ = ["TwoProportions", "two_proportions"]


@dataclass(frozen=True, slots=True)
class TwoProportions:
    """`delta`: variant - baseline, a fraction; `z` has its sign; `p` two-sided; `low`, `high`: two-sided interval."""

    delta: float
    z: float
    p: float
    low: float
    high: float


def two_proportions(
    baseline_right: int, baseline_n: int, variant_right: int, variant_n: int, *, level: float = 0.95
) -> TwoProportions:
    """The pooled two-proportion z-test and the Wald interval (Fleiss, Levin and Paik 2003, Statistical Methods for
    Rates and Proportions, 3rd ed., ch. 3, without continuity correction).

    Counts of right answers out of `n`. Both all right, or both all wrong: z = 0 and p = 1, there being no difference.
    Raises `ValueError` when there are no answers, or more right ones than answers.
    """
    if not (0 <= baseline_right <= baseline_n and 0 <= variant_right <= variant_n and min(baseline_n, variant_n) > 0):
        raise ValueError(
            f"not proportions: {baseline_right} of {baseline_n} (baseline) and {variant_right} of {variant_n} (variant)"
        )
    ours, theirs = baseline_right / baseline_n, variant_right / variant_n
    delta = theirs - ours
    pooled = (baseline_right + variant_right) / (baseline_n + variant_n)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / baseline_n + 1 / variant_n))
    z = float(delta / spread) if spread > 0 else 0.0
    half = normal_quantile((1 + level) / 2) * np.sqrt(
        ours * (1 - ours) / baseline_n + theirs * (1 - theirs) / variant_n
    )
    return TwoProportions(delta, z, float(2 * special.ndtr(-abs(z))), float(delta - half), float(delta + half))
