"""Several draws an item: the item is the unit, and the variance falls apart into what items and what draws add."""

import numpy as np
import pytest
from scipy import stats

from quantcheck.stats import compare_items, judge_tasks
from quantcheck.stats.draws import compare_draws, within_item_variance


def draw(rng: np.random.RandomState, chances: np.ndarray, draws: int) -> np.ndarray:
    return rng.uniform(size=(len(chances), draws)) < chances[:, np.newaxis]


def test_one_draw_is_the_paired_comparison() -> None:
    rng = np.random.RandomState(1)
    baseline, groups = rng.uniform(size=600) < 0.7, [str(i // 20) for i in range(600)]
    variant = baseline ^ (rng.uniform(size=600) < 0.06)
    for names in (None, groups):
        drawn = compare_draws(baseline[:, None], variant[:, None], margin=0.02, groups=names)
        single = compare_items(baseline, variant, margin=0.02, groups=names)
        assert (drawn.flips, drawn.groups) == (single.flips, single.groups)
        for field in ("low", "high", "lower_bound", "upper_bound", "p_safe", "design_effect"):
            assert getattr(drawn, field) == pytest.approx(getattr(single, field))
        assert drawn.delta == pytest.approx(single.delta)
        assert (drawn.item_variance, drawn.draw_variance) == (None, None)


def test_interval_is_that_of_item_means_where_items_are_many() -> None:
    rng = np.random.RandomState(2)
    chances = rng.beta(0.5, 0.5, 3_000)
    baseline, variant = draw(rng, chances, 4), draw(rng, np.clip(chances - 0.008, 0, 1), 4)
    found = compare_draws(baseline, variant, margin=0.02)
    d = variant.mean(axis=1) - baseline.mean(axis=1)
    assert (found.low, found.high) == pytest.approx(stats.t(2_999, d.mean(), stats.sem(d)).interval(0.95), abs=5e-4)
    assert found.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue, rel=0.05)
    assert (found.flips.lost, found.flips.gained) == (np.sum(d < 0), np.sum(d > 0))


def test_draws_are_no_items() -> None:
    rng = np.random.RandomState(3)
    chances = np.array([0.0, 1.0] * 100)
    worse = chances.copy()
    worse[1:40:2] = 0.0  # 20 items are lost for certain: further draws tell nothing more
    few = compare_draws(draw(rng, chances, 2), draw(rng, worse, 2), margin=0.02)
    many = compare_draws(draw(rng, chances, 64), draw(rng, worse, 64), margin=0.02)
    assert (many.low, many.high) == pytest.approx((few.low, few.high))
    # Where draws are all that differs they do.
    even = np.full(200, 0.5)
    few, many = (compare_draws(draw(rng, even, k), draw(rng, even, k), margin=0.02) for k in (2, 64))
    assert many.high - many.low < (few.high - few.low) / 4


@pytest.mark.parametrize(("ours", "theirs"), [(2, 2), (4, 4), (3, 8)])
def test_variance_decomposition_is_unbiased(ours: int, theirs: int) -> None:
    rng = np.random.RandomState(4)
    first = rng.beta(0.6, 0.6, 400)
    second = np.where(rng.uniform(size=400) < 0.2, 1 - first, first)
    results = [compare_draws(draw(rng, first, ours), draw(rng, second, theirs), margin=0.1) for _ in range(400)]
    items, within = ([getattr(r, name) for r in results] for name in ("item_variance", "draw_variance"))
    assert np.mean(items) == pytest.approx(np.var(second - first, ddof=1), abs=4 * stats.sem(items))
    truth = np.mean(first * (1 - first) + second * (1 - second))
    assert np.mean(within) == pytest.approx(truth, abs=4 * stats.sem(within))


@pytest.mark.parametrize("n", [164, 1_000])
def test_words_are_wrong_rarely(n: int) -> None:
    rng, runs = np.random.RandomState(5), 600
    safe, harmed = 0, 0
    for _ in range(runs):
        chances = rng.beta(0.3, 0.3, n)
        worse = np.where(rng.uniform(size=n) < 0.1, np.maximum(chances - 0.5, 0), chances)
        margin = float(np.mean(chances - worse))
        safe += compare_draws(draw(rng, chances, 4), draw(rng, worse, 4), margin=margin).p_safe <= 0.05
        harmed += compare_draws(draw(rng, chances, 4), draw(rng, chances, 4), margin=margin).p_harmed <= 0.05
    allowed = 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    assert safe / runs <= allowed
    assert harmed / runs <= allowed


def test_no_difference_is_as_wide_as_the_items_allow() -> None:
    right = np.ones((100, 8), dtype=bool)
    found = compare_draws(right, right, margin=0.01)
    assert found.low < -0.02
    assert found.p_harmed == pytest.approx(0.5)
    assert judge_tasks({"t": found})["t"].word == "inconclusive"
    lost = right.copy()
    lost[:30] = False
    assert judge_tasks({"t": compare_draws(right, lost, margin=0.01)})["t"].word == "harmed"


def test_refuses_what_does_not_pair() -> None:
    with pytest.raises(ValueError, match="cannot pair draws"):
        compare_draws(np.ones((3, 2), dtype=bool), np.ones((4, 2), dtype=bool), margin=0.1)
    with pytest.raises(ValueError, match="cannot pair draws"):
        compare_draws(np.ones((3, 0), dtype=bool), np.ones((3, 2), dtype=bool), margin=0.1)
    assert within_item_variance(np.ones((3, 1), dtype=bool)) is None
