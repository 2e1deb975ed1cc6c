"""`safe`, `harmed` or `inconclusive`: the verdict on paired task results, one task or several.

For each task two one-sided questions are asked at 5%:
  safe     is the loss smaller than the margin?   H0: delta <= -margin   score test (Tango 1998)
  harmed   is there a loss at all?                H0: delta >= 0         exact McNemar, one-sided
Over the tasks of one variant each question is a family of its own and Holm (1979) adjusts its p-values, so
the chance of any false `safe` is at most 5%, and so is that of any false `harmed`. A task that is both (a
loss, proven, that is proven to be within the margin) is `safe`: the margin is what the user calls no matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from quantcheck.stats.apart import ApartResult
from quantcheck.stats.clusters import clustering
from quantcheck.stats.distributions import binomial_cdf
from quantcheck.stats.draws import DrawsResult
from quantcheck.stats.paired import Flips, count_flips, mcnemar_p
from quantcheck.stats.planning import items_for_noninferiority, items_to_detect
from quantcheck.stats.speed import above_noise

__all__ = ["PairedResult", "QualityVerdict", "QualityWord", "compare_items", "holm", "judge_tasks"]

QualityWord = Literal["safe", "harmed", "inconclusive"]

MOST_ITEMS = 1_000_000


@dataclass(frozen=True, slots=True)
class PairedResult:
    """One task, variant against baseline. Differences and margin are fractions (0.01: one percentage point).

    `low`, `high`: two-sided 95%; `lower_bound`, `upper_bound`: one-sided 95% each. `p` is exact McNemar,
    `p_safe` and `p_harmed` are the unadjusted one-sided values. `groups`: clusters used; None: unclustered.
    """

    flips: Flips
    margin: float
    low: float
    high: float
    lower_bound: float
    upper_bound: float
    p: float
    p_safe: float
    p_harmed: float
    design_effect: float
    groups: int | None

    @property
    def delta(self) -> float:
        """Change of accuracy, as a fraction."""
        return self.flips.delta

    @property
    def item_spread(self) -> float:
        """psi, with one flip more than was seen: zero seen is not zero."""
        return (self.flips.lost + self.flips.gained + 1) / (self.flips.n + 2)


@dataclass(frozen=True, slots=True)
class QualityVerdict:
    """`more_items` (only with `inconclusive`): about how many more would settle it; None: too many to say.

    `p_safe` and `p_harmed` are adjusted by Holm over the tasks judged together.
    """

    word: QualityWord
    p_safe: float
    p_harmed: float
    more_items: int | None = None
    reason: str | None = None


def compare_items(
    baseline: npt.NDArray[np.bool_],
    variant: npt.NDArray[np.bool_],
    *,
    margin: float,
    groups: Sequence[str] | None = None,
) -> PairedResult:
    """Compare paired right/wrong outcomes [n]; `groups` [n] names each item's cluster.

    Raises `ValueError` when the two cannot be paired.
    """
    flips = count_flips(baseline, variant)
    found = clustering(variant.astype(np.float64) - baseline, groups)
    counts = flips.gained, flips.lost, flips.n
    low, high = found.interval(*counts, 0.975)
    lower, upper = found.interval(*counts, 0.95)
    p_safe = float(found.p_below(*counts, -margin))
    p_exact = binomial_cdf(flips.gained, flips.gained + flips.lost, 0.5)
    p_harmed = p_exact if found.groups is None else max(p_exact, float(found.p_above(*counts, 0.0)))
    p = mcnemar_p(flips.lost, flips.gained)
    return PairedResult(flips, margin, low, high, lower, upper, p, p_safe, p_harmed, found.effect, found.groups)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the given order (Holm 1979, Scand. J. Statist. 6:65-70)."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(x) for x in adjusted]


def judge_tasks(
    results: Mapping[str, PairedResult | DrawsResult | ApartResult],
    *,
    alpha: float = 0.05,
    floors: Mapping[str, float] | None = None,
) -> dict[str, QualityVerdict]:
    """A verdict for every task of one variant; `floors`: the baseline's delta against itself by task.

    A loss that is not above the noise floor is not called `harmed`.
    """
    names = list(results)
    safe = dict(zip(names, holm([results[k].p_safe for k in names]), strict=True))
    harm = dict(zip(names, holm([results[k].p_harmed for k in names]), strict=True))
    verdicts: dict[str, QualityVerdict] = {}
    for name in names:
        result, reason = results[name], "the interval reaches from beyond the margin to no loss"
        if safe[name] <= alpha:
            verdicts[name] = QualityVerdict("safe", safe[name], harm[name])
            continue
        if harm[name] <= alpha:
            if above_noise(result.delta, (floors or {}).get(name)):
                verdicts[name] = QualityVerdict("harmed", safe[name], harm[name])
                continue
            reason = "not above the noise floor: the baseline against itself differs as much"
        elif min(result.p_safe, result.p_harmed) <= alpha:
            reason = f"settled alone, but not as one of {len(names)} tasks (Holm)"
        more = _more_items(result, alpha / len(names))
        verdicts[name] = QualityVerdict("inconclusive", safe[name], harm[name], more, reason)
    return verdicts


def _more_items(result: PairedResult | DrawsResult | ApartResult, alpha: float) -> int | None:
    """Items beyond those there are that settle it, with 80% power, if the rates stay what they are."""
    n = result.n if isinstance(result, ApartResult) else result.flips.n
    psi, delta = result.item_spread, result.delta
    needs = [items_for_noninferiority(psi, result.margin, delta=delta, alpha=alpha)]
    if delta < 0:
        needs.append(items_to_detect(psi, delta, alpha=alpha))
    needed = min(needs) * result.design_effect
    if needed > MOST_ITEMS:
        return None
    return int(np.ceil(max(needed, 1.1 * n))) - n
