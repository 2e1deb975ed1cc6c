"""Welch's interval against scipy, and its coverage where a pooled one would fail."""

import numpy as np
import pytest
from scipy import stats

from quantcheck.stats.welch import unpaired_ratio, welch_interval


@pytest.mark.parametrize(("k", "m"), [(2, 2), (3, 5), (10, 4)])
@pytest.mark.parametrize("scale", [0.3, 1.0, 7.0])
def test_equals_scipy(k: int, m: int, scale: float) -> None:
    rng = np.random.default_rng(k * 100 + m)
    ours, theirs = rng.normal(0, 1, k), rng.normal(1, scale, m)
    low, high, freedom = welch_interval(ours, theirs)
    expected = stats.ttest_ind(theirs, ours, equal_var=False)
    bounds = expected.confidence_interval(0.95)
    assert (low, high) == pytest.approx((bounds.low, bounds.high), rel=1e-9)
    assert freedom == pytest.approx(expected.df, rel=1e-9)


def test_ratio_is_the_interval_on_the_log_scale() -> None:
    ours, theirs = np.log([100.0, 104.0, 98.0]), np.log([210.0, 190.0, 200.0, 205.0])
    ratio = unpaired_ratio(ours, theirs)
    low, high, _ = welch_interval(ours, theirs)
    assert ratio.estimate == pytest.approx(np.exp(theirs.mean() - ours.mean()))
    assert (ratio.low, ratio.high) == pytest.approx((np.exp(low), np.exp(high)))
    assert ratio.blocks == 3
    assert ratio.spread == pytest.approx(np.sqrt(ours.var(ddof=1) + theirs.var(ddof=1)))


def test_swapping_the_sides_inverts_the_ratio() -> None:
    ours, theirs = np.log([100.0, 104.0, 98.0]), np.log([210.0, 190.0])
    one, other = unpaired_ratio(ours, theirs), unpaired_ratio(theirs, ours)
    assert one.low is not None
    assert other.high is not None
    assert one.low * other.high == pytest.approx(1)


def test_one_block_has_a_ratio_and_no_interval() -> None:
    ratio = unpaired_ratio(np.log([100.0]), np.log([210.0, 190.0]))
    assert (ratio.low, ratio.high, ratio.spread, ratio.blocks) == (None, None, None, 1)
    assert ratio.reason == "1 block on one side: an interval needs at least 2 on each"
    with pytest.raises(ValueError, match="at least one block"):
        unpaired_ratio(np.array([]), np.log([1.0]))
    with pytest.raises(ValueError, match="two values on each side, not 1 and 2"):
        welch_interval(np.array([0.0]), np.array([0.0, 1.0]))


def test_no_variance_is_no_width() -> None:
    ratio = unpaired_ratio(np.log([100.0, 100.0]), np.log([200.0, 200.0]))
    assert (ratio.low, ratio.high) == pytest.approx((2.0, 2.0))


def test_coverage_with_unlike_spreads_and_few_blocks() -> None:
    """3 blocks of spread 1% against 5 of 4%: 10,000 pairs of runs; binomial error 0.2 pp."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0, 0.01, (10_000, 3)), rng.normal(0.1, 0.04, (10_000, 5))
    inside = 0
    for a, b in zip(ours, theirs, strict=True):
        low, high, _ = welch_interval(a, b)
        inside += low <= 0.1 <= high
    assert 0.94 <= inside / 10_000 <= 0.97
