"""Paired answers as figures: one greedy answer an item, or several that were drawn."""

from collections.abc import Mapping
from typing import Any

from quantcheck.report.pairs import BoolArray, Pair
from quantcheck.report.summary import Sampled, Unpaired
from quantcheck.stats import PairedResult, compare_items
from quantcheck.stats.draws import DrawsResult, compare_draws
from quantcheck.stats.unpaired import two_proportions

__all__ = ["Compared", "compare_answers", "sampled_row", "unpaired_row"]

Compared = PairedResult | DrawsResult


def compare_answers(
    baseline: BoolArray, variant: BoolArray, *, margin: float, groups: list[str] | None = None
) -> Compared:
    """The comparison of a task's answers, [n] or [n, draws]; `margin` is a fraction, `groups` [n] or None."""
    if baseline.ndim == 1:
        return compare_items(baseline, variant, margin=margin, groups=groups)
    return compare_draws(baseline, variant, margin=margin, groups=groups)


def unpaired_row(pair: Pair) -> Unpaired | None:
    """The z-test of two unrelated samples; None for drawn answers, because an item's draws are no sample of items."""
    if pair.baseline.ndim > 1:
        return None
    n = len(pair.ids)
    test = two_proportions(int(pair.baseline.sum()), n, int(pair.variant.sum()), n)
    return Unpaired(z=test.z, p=test.p, low=test.low, high=test.high)


def sampled_row(result: Compared, sampling: Mapping[str, Any] | None) -> Sampled | None:
    """Where the variance comes from; None for greedy answers."""
    if sampling is None or not isinstance(result, DrawsResult):
        return None
    return Sampled(
        draws=int(sampling["draws"]), temperature=float(sampling["temperature"]), top_p=float(sampling["top_p"]),
        item_variance=result.item_variance, draw_variance=result.draw_variance,
    )  # fmt: skip
