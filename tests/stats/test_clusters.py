"""Groups: the design effect, and tests that keep their promise when losses sit in a few groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from quantcheck.stats.clusters import (
    FEWEST_GROUPS,
    INDEPENDENT,
    Clustering,
    clustered_se,
    clustering,
    clustering_of_sums,
)
from quantcheck.stats.paired import score_interval, score_z

NAMES = [str(i // 10) for i in range(1_000)]


def test_clustered_se_is_the_ordinary_one_for_single_items_and_grows_with_copies() -> None:
    rng = np.random.RandomState(3)
    single = rng.choice([-1.0, 0.0, 1.0], 400, p=[0.1, 0.85, 0.05])
    names = [str(i) for i in range(400)]
    assert clustered_se(single, names) == pytest.approx(stats.sem(single), rel=1e-12)
    copied = clustered_se(np.repeat(single, 5), [name for name in names for _ in range(5)])
    assert copied == pytest.approx(stats.sem(single), rel=1e-12)


def test_design_effect_needs_real_groups() -> None:
    rng = np.random.RandomState(4)
    lost = -np.repeat((rng.uniform(size=100) < 0.05).astype(np.float64), 10)
    found = clustering(lost, NAMES)
    assert found.groups == 100
    assert found.effect == pytest.approx(10, rel=0.05)  # whole groups flip: ten items tell as much as one
    assert found.skew < 0
    # Flips spread more evenly than chance would: no credit is given for it.
    even = -(np.arange(1_000) % 10 == 0).astype(np.float64)
    assert clustering(even, NAMES).effect == 1.0
    assert clustering(lost, None) is INDEPENDENT
    assert clustering(lost, [str(i) for i in range(1_000)]) is INDEPENDENT
    assert clustering(lost, [str(i % (FEWEST_GROUPS - 1)) for i in range(1_000)]) is INDEPENDENT


def test_groups_of_like_size_give_the_textbooks_error_but_for_the_jackknife() -> None:
    rng = np.random.RandomState(5)
    differences = rng.normal(size=(100, 1)).repeat(10, axis=1).ravel()
    found = clustering(differences, NAMES)
    textbook = clustered_se(differences, NAMES) ** 2 / (np.var(differences) / 1_000)
    assert found.effect == pytest.approx(textbook * 100 / 99)
    jackknife = np.array([np.delete(differences.reshape(100, 10), g, axis=0).mean() for g in range(100)])
    assert found.effect * np.var(differences) / 1_000 == pytest.approx(np.sum((jackknife - differences.mean()) ** 2))


def test_a_large_group_leaves_fewer_degrees_of_freedom() -> None:
    rng = np.random.RandomState(6)
    like, unlike = np.full(50, 100), np.array([2_550] + [50] * 49)
    freedoms = []
    for sizes in (like, unlike):
        sums = rng.normal(size=(200, 50)) * sizes * 0.1
        freedoms.append(np.median(clustering_of_sums(sums, sizes, np.full(200, 0.05)).freedom))
    assert freedoms[0] > 35
    assert freedoms[1] < 6


def test_no_flip_counts_as_a_beta_of_correlation_a_tenth_makes_it() -> None:
    found = clustering(np.zeros(1_000), NAMES)
    # P[no flip in ten items] at rate p: beta(9 p, 9 (1 - p)) against (1 - p)^10, as p goes to 0.
    p = 1e-6
    grouped = stats.betabinom.logpmf(0, 10, 9 * p, 9 * (1 - p))
    # The logarithm (1 + s/k) stands for the sum 1/k + ... + 1/(k + s - 1), a little above it.
    assert found.effect == pytest.approx(10 * np.log1p(-p) / grouped, rel=0.05)
    assert found.p_below(0, 0, 1_000, -0.01) > INDEPENDENT.p_below(0, 0, 1_000, -0.01)


@given(st.integers(0, 40), st.integers(0, 40), st.floats(1, 8), st.floats(3, 60), st.floats(-1.5, 1.5))
def test_bounds_are_where_the_tests_stop_rejecting(
    gained: int, lost: int, effect: float, freedom: float, skew: float
) -> None:
    found = Clustering(effect, freedom, skew, 60)
    low, high = found.interval(gained, lost, 600, 0.95)
    if -0.99 < low < high < 0.99:
        assert found.p_below(gained, lost, 600, low) == pytest.approx(0.05, abs=1e-5)
        assert found.p_above(gained, lost, 600, high) == pytest.approx(0.05, abs=1e-5)
    # The skew never narrows.
    plain = Clustering(effect, freedom, 0.0, 60).interval(gained, lost, 600, 0.95)
    assert low <= plain[0] + 1e-9
    assert high >= plain[1] - 1e-9


def test_independent_is_the_plain_score_test() -> None:
    assert INDEPENDENT.p_below(3, 9, 200, -0.05) == pytest.approx(stats.norm.sf(score_z(3, 9, 200, -0.05)))
    assert INDEPENDENT.p_above(3, 9, 200, 0.0) == pytest.approx(stats.norm.cdf(score_z(3, 9, 200, 0.0)))
    assert INDEPENDENT.interval(3, 9, 200, 0.975) == pytest.approx(score_interval(3, 9, 200, stats.norm.ppf(0.975)))


@pytest.mark.parametrize(("sizes", "psi", "correlation"), [
    (np.full(57, 246), 0.02, 0.1), (np.full(57, 246), 0.2, 0.03), (np.full(12, 110), 0.02, 0.1),
    (np.array([100] * 40 + [300] * 10 + [800, 900, 1_500]), 0.05, 0.03),
])  # fmt: skip
def test_safe_is_rarely_wrong_when_losses_sit_in_groups(sizes: np.ndarray, psi: float, correlation: float) -> None:
    rng, runs, margin, scale = np.random.RandomState(7), 5_000, 0.01, 1 / correlation - 1
    means = (psi + margin) / 2, (psi - margin) / 2
    lost, gained = (rng.binomial(sizes, rng.beta(m * scale, (1 - m) * scale, (runs, len(sizes)))) for m in means)
    n, down, up = sizes.sum(), lost.sum(axis=1), gained.sum(axis=1)
    delta = (up - down) / n
    found = clustering_of_sums((gained - lost).astype(float), sizes, (down + up) / n - delta**2)
    assert np.mean(found.p_below(up, down, np.full(runs, n), -margin) <= 0.05) <= 0.055
    # The textbook's test, on the same runs, does not keep it: there is something to remedy.
    residual = gained - lost - delta[:, np.newaxis] * sizes
    error = np.sqrt(len(sizes) / (len(sizes) - 1) * (residual**2).sum(axis=1)) / n
    textbook = stats.t.sf((delta + margin) / np.maximum(error, 1e-12), len(sizes) - 1)
    assert np.mean(textbook <= 0.05) > 0.05
