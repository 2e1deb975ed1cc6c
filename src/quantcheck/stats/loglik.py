"""Perplexity, its ratio to the baseline's, and mean KL divergence, with intervals by document.

Tokens of one document share its topic and style, so the document is the unit. A corpus with few documents is
cut into consecutive segments instead (batch means: neighbours are nearly independent once a segment is much
longer than the text's memory), and the result says which unit was used.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from quantcheck.stats.distributions import normal_quantile, t_quantile
from quantcheck.stats.interval import FloatArray, Interval, ratio_of_sums

__all__ = [
    "FEWEST_DOCUMENTS",
    "TokenUnits",
    "judge_perplexity",
    "perplexity",
    "perplexity_ratio",
    "token_mean",
    "token_units",
]

FEWEST_DOCUMENTS = 10
"""Below this the documents are too few to carry an interval, and segments take their place."""

SEGMENT_TOKENS = 256


@dataclass(frozen=True, slots=True)
class TokenUnits:
    """Which unit each token belongs to: `member` [tokens] counts units from 0."""

    member: npt.NDArray[np.int64]
    count: int
    kind: Literal["document", "segment"]


def token_units(documents: npt.NDArray[np.integer]) -> TokenUnits:
    """Units of a corpus from each token's document number [tokens]."""
    names, member = np.unique(documents, return_inverse=True)
    if len(names) >= FEWEST_DOCUMENTS or len(documents) < 2 * SEGMENT_TOKENS:
        return TokenUnits(member.astype(np.int64), len(names), "document")
    count = len(documents) // SEGMENT_TOKENS
    # The rest, shorter than a segment, joins the last one.
    segments = np.minimum(np.arange(len(documents)) // SEGMENT_TOKENS, count - 1)
    return TokenUnits(segments.astype(np.int64), count, "segment")


def token_mean(values: FloatArray, units: TokenUnits, *, level: float = 0.95) -> Interval:
    """Mean over tokens of `values` [tokens] (KL divergence in nats, agreement as 0/1), with its interval."""
    sums = np.bincount(units.member, weights=values, minlength=units.count).astype(np.float64)
    counts = np.bincount(units.member, minlength=units.count).astype(np.float64)
    return ratio_of_sums(sums, counts, level=level, unit=units.kind)


def perplexity(nll: FloatArray, units: TokenUnits, *, level: float = 0.95) -> Interval:
    """exp of the mean negative log-likelihood (nats per token) with its interval."""
    return token_mean(nll, units, level=level).map_exp()


def perplexity_ratio(
    baseline: FloatArray, variant: FloatArray, units: TokenUnits, *, level: float = 0.95
) -> Interval:
    """Perplexity variant / baseline from the same tokens' negative log-likelihoods [tokens], paired.

    How hard a document is cancels, which makes this interval far narrower than either perplexity's own.
    """
    return token_mean(variant - baseline, units, level=level).map_exp()


def judge_perplexity(
    baseline: FloatArray, variant: FloatArray, units: TokenUnits, *, margin: float, floor: float | None = None
) -> tuple[Literal["safe", "harmed", "inconclusive"], int | None]:
    """The word for the perplexity ratio, and (when inconclusive) about how many more units would settle it.

    One-sided 95% bounds, as for tasks: `safe` when the upper bound is below 1 + margin, else `harmed` when
    the lower bound is above 1 and the estimate above `floor` (the baseline's ratio against itself, minus 1).
    """
    ratio = perplexity_ratio(baseline, variant, units, level=0.90)
    if ratio.low is None or ratio.high is None:
        return "inconclusive", None
    if ratio.high < 1 + margin:
        return "safe", None
    if ratio.low > 1 and ratio.estimate - 1 > abs(floor or 0.0):
        return "harmed", None
    spread = (np.log(ratio.high) - np.log(ratio.low)) / 2 / t_quantile(0.95, units.count - 1)
    effect = float(np.log(ratio.estimate))
    distance = max(effect, float(np.log1p(margin)) - effect)
    needed = units.count * ((normal_quantile(0.95) + normal_quantile(0.8)) * spread / distance) ** 2
    return "inconclusive", max(int(np.ceil(needed)) - units.count, 1)
