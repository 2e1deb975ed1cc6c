"""The mean of several estimates keeps their level: MOVER."""

import numpy as np
import pytest
from scipy import stats

from quantcheck.stats import compare_items, weighted_mean


def test_worked_by_hand() -> None:
    found = weighted_mean(np.array([3.0, 1.0]), np.array([0.0, 4.0]), np.array([-4.0, 1.0]), np.array([2.0, 12.0]))
    # Shares 3/4 and 1/4: below sqrt(3^2 + 0.75^2), above sqrt(1.5^2 + 2^2).
    assert found.estimate == pytest.approx(1.0)
    assert found.low == pytest.approx(1 - np.sqrt(9.5625))
    assert found.high == pytest.approx(1 + 2.5)
    assert found.units == 2


def test_one_estimate_is_itself() -> None:
    found = weighted_mean(np.array([7.0]), np.array([0.3]), np.array([0.1]), np.array([0.9]))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.3, 0.1, 0.9))


def test_of_normal_means_it_is_the_textbook_interval() -> None:
    rng = np.random.default_rng(0)
    sizes, sds = np.array([40, 200, 1000]), np.array([1.0, 2.0, 0.5])
    means = rng.normal(0, sds / np.sqrt(sizes))
    half = stats.norm.ppf(0.975) * sds / np.sqrt(sizes)
    found = weighted_mean(sizes.astype(float), means, means - half, means + half)
    share = sizes / sizes.sum()
    error = np.sqrt(np.sum(share**2 * sds**2 / sizes))
    assert found.high == pytest.approx(found.estimate + stats.norm.ppf(0.975) * error)


def test_nothing_has_no_mean() -> None:
    none = np.empty(0)
    with pytest.raises(ValueError, match="at least one"):
        weighted_mean(none, none, none, none)


def test_tasks_together_are_covered() -> None:
    rng, covered = np.random.default_rng(1), 0
    sizes, lost, gained = (600, 164, 1200), (0.02, 0.05, 0.01), (0.01, 0.05, 0.002)
    truth = sum(n * (g - b) for n, b, g in zip(sizes, lost, gained, strict=True)) / sum(sizes)
    trials = 600
    for _ in range(trials):
        results = []
        for n, b, g in zip(sizes, lost, gained, strict=True):
            kind = rng.choice(3, n, p=[b, g, 1 - b - g])
            results.append(compare_items(kind != 1, kind != 0, margin=0.01))
        found = weighted_mean(np.array(sizes, float), *(np.array([getattr(r, key) for r in results])
                                                        for key in ("delta", "low", "high")))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / trials <= 0.975
