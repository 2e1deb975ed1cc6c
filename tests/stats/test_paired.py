"""Flips, McNemar, the score interval and clusters."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar

from quantcheck.stats import count_flips, mcnemar_p, score_interval
from quantcheck.stats.paired import score_z

Z = 1.959963984540054
COUNTS = st.integers(0, 60)


def test_counts_flips() -> None:
    baseline = np.array([True, True, True, False, False])
    variant = np.array([True, False, False, True, False])
    flips = count_flips(baseline, variant)
    assert (flips.n, flips.both, flips.lost, flips.gained) == (5, 1, 2, 1)
    assert (flips.delta, flips.psi) == (pytest.approx(-0.2), pytest.approx(0.6))
    with pytest.raises(ValueError, match="cannot pair 5 baseline items with 4"):
        count_flips(baseline, variant[:4])
    with pytest.raises(ValueError, match="cannot pair 0"):
        count_flips(baseline[:0], variant[:0])


@given(COUNTS, COUNTS)
def test_mcnemar_equals_statsmodels_and_scipy(lost: int, gained: int) -> None:
    ours = mcnemar_p(lost, gained)
    assert ours == pytest.approx(mcnemar([[5, lost], [gained, 5]], exact=True).pvalue, abs=1e-9)
    if lost + gained:
        assert ours == pytest.approx(stats.binomtest(lost, lost + gained, 0.5).pvalue, abs=1e-9)


def independent_z(gained: int, lost: int, n: int, delta: float) -> float:
    """The score statistic by brute force: the constrained likelihood is maximised numerically."""

    def minus_log_likelihood(q: float) -> float:  # q = P(lost), P(gained) = q + delta
        rest = 1 - 2 * q - delta
        parts = [(lost, q), (gained, q + delta), (n - lost - gained, rest)]
        return -sum(k * np.log(max(p, 1e-300)) for k, p in parts if k)

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = optimize.minimize_scalar(minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    return float((gained - lost - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta))))


@pytest.mark.parametrize(("gained", "lost", "n"), [(1, 4, 60), (0, 5, 50), (12, 3, 40), (2, 2, 600), (30, 1, 35)])
def test_score_interval_equals_an_independent_inversion(gained: int, lost: int, n: int) -> None:
    low, high = score_interval(gained, lost, n, Z)
    centre = (gained - lost) / n
    wanted_low = optimize.brentq(lambda d: independent_z(gained, lost, n, d) - Z, -0.99, centre - 1e-9)
    wanted_high = optimize.brentq(lambda d: independent_z(gained, lost, n, d) + Z, centre + 1e-9, 0.99)
    assert (low, high) == pytest.approx((wanted_low, wanted_high), abs=1e-6)


@pytest.mark.parametrize("n", [1, 10, 164, 14_042])
def test_no_flips_give_the_width_that_n_allows(n: int) -> None:
    # Closed form at b = c = 0: n delta^2 = z^2 delta (1 - delta).
    edge = Z**2 / (n + Z**2)
    assert score_interval(0, 0, n, Z) == pytest.approx((-edge, edge), abs=1e-9)


def test_all_items_flipped_stays_inside() -> None:
    low, high = score_interval(0, 20, 20, Z)
    assert low == -1.0
    assert -1.0 < high < -0.6
    assert score_interval(20, 0, 20, Z) == pytest.approx((-high, 1.0))


@given(COUNTS, COUNTS, st.integers(1, 2_000))
def test_score_interval_properties(gained: int, lost: int, n: int) -> None:
    assume(gained + lost <= n)
    low, high = score_interval(gained, lost, n, Z)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert low < high
    assert score_interval(lost, gained, n, Z) == pytest.approx((-high, -low), abs=1e-9)
    narrow = score_interval(gained, lost, n, 1.0)
    assert low <= narrow[0] + 1e-12
    assert narrow[1] <= high + 1e-12
    # As many times the evidence at the same rates: the interval shrinks.
    more = score_interval(4 * gained, 4 * lost, 4 * n, Z)
    assert more[1] - more[0] < high - low


@given(COUNTS, COUNTS, st.floats(-0.9, 0.9), st.floats(0.001, 0.09))
def test_score_falls_as_the_hypothesis_rises(gained: int, lost: int, delta: float, step: float) -> None:
    n = gained + lost + 40
    assert score_z(gained, lost, n, delta) > score_z(gained, lost, n, delta + step)


def test_score_interval_covers_at_small_counts() -> None:
    n, lost, gained, truth = 200, 0.02, 0.01, -0.01
    rng = np.random.RandomState(5)
    draws = rng.multinomial(n, [gained, lost, 1 - gained - lost], 2_000)
    inside = [abs(score_z(g, b, n, truth)) <= Z for g, b, _ in draws]
    assert np.mean(inside) >= 0.93


def test_score_takes_arrays_and_an_end_of_its_own() -> None:
    counts = [(0, 0, 50), (3, 9, 200), (0, 20, 20), (7, 0, 7)]
    gained, lost, n = (np.array(column) for column in zip(*counts, strict=True))
    assert score_z(gained, lost, n, -0.02) == pytest.approx([float(score_z(*one, -0.02)) for one in counts])
    low, high = score_interval(3, 9, 200, Z, 1.0)
    assert low == score_interval(3, 9, 200, Z)[0]
    assert high == score_interval(3, 9, 200, 1.0)[1]
