"""The unpaired test against scipy, its size in simulation, and perplexity's word."""

import numpy as np
import pytest
from scipy import stats

from quantcheck.stats import compare_items, judge_tasks
from quantcheck.stats.apart import compare_apart, judge_apart_perplexity, share_error


def test_against_scipy() -> None:
    found = compare_apart((0.8, 0.02), (0.75, 0.03), 400, margin=0.01)
    normal = stats.norm(-0.05, np.hypot(0.02, 0.03))
    assert (found.low, found.high) == pytest.approx(normal.interval(0.95))
    assert (found.lower_bound, found.upper_bound) == pytest.approx(normal.interval(0.90))
    assert found.p == pytest.approx(2 * normal.sf(0))
    assert found.p_harmed == pytest.approx(normal.sf(0))
    assert found.p_safe == pytest.approx(1 - stats.norm.cdf(-0.05 + 0.01, 0, np.hypot(0.02, 0.03)))


def test_its_size_where_nothing_differs() -> None:
    rng = np.random.default_rng(0)
    words = []
    for _ in range(2000):
        a, b = rng.binomial(300, 0.7, 2) / 300
        result = compare_apart((a, share_error(a, 300)), (b, share_error(b, 300)), 300, margin=0.01)
        words.append(judge_tasks({"t": result})["t"].word)
    assert words.count("harmed") / 2000 < 0.065


def test_pairing_is_narrower_where_right_answers_go_together() -> None:
    rng = np.random.default_rng(1)
    ours = rng.random(500) < 0.7
    theirs = ours ^ (rng.random(500) < 0.05)
    paired = compare_items(ours, theirs, margin=0.01)
    a, b = ours.mean(), theirs.mean()
    apart = compare_apart((a, share_error(a, 500)), (b, share_error(b, 500)), 500, margin=0.01)
    assert apart.delta == pytest.approx(paired.delta)
    assert paired.high - paired.low < (apart.high - apart.low) / 2


def test_the_ends() -> None:
    assert share_error(1.0, 20) > 0
    found = compare_apart((1.0, share_error(1.0, 20)), (0.0, share_error(0.0, 20)), 20, margin=0.01)
    assert found.low == -1.0
    with pytest.raises(ValueError, match="without any error"):
        compare_apart((1.0, 0.0), (1.0, 0.0), 20, margin=0.01)


def test_perplexity() -> None:
    assert judge_apart_perplexity(0.0, 0.001, margin=0.01) == "safe"
    assert judge_apart_perplexity(0.03, 0.001, margin=0.01) == "harmed"
    assert judge_apart_perplexity(0.005, 0.01, margin=0.01) == "inconclusive"
