"""Benjamini-Hochberg as statsmodels and scipy have it, and its promise on McNemar's p-values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from quantcheck.stats import mcnemar_p
from quantcheck.stats.slices import benjamini_hochberg


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_equals_statsmodels_and_scipy(p_values: list[float]) -> None:
    ours = benjamini_hochberg(p_values)
    assert ours == pytest.approx(list(multipletests(p_values, method="fdr_bh")[1]), abs=1e-9)
    assert ours == pytest.approx(list(stats.false_discovery_control(p_values)), abs=1e-9)


def test_nothing_to_adjust() -> None:
    assert benjamini_hochberg([]) == []
    assert benjamini_hochberg([0.03]) == [0.03]


@pytest.mark.parametrize("broken", [0, 4])
def test_false_findings_stay_a_small_share(broken: int) -> None:
    # 20 slices of 200 items at psi 10%; the first `broken` lose 8 points.
    rng, shares, found = np.random.RandomState(2), [], 0
    for _ in range(500):
        lost, gained, _ = rng.multinomial(200, [0.05, 0.05, 0.9], 20).T
        lost[:broken], gained[:broken], _ = rng.multinomial(200, [0.09, 0.01, 0.9], broken).T
        q = np.array(benjamini_hochberg([mcnemar_p(int(b), int(c)) for b, c in zip(lost, gained, strict=True)]))
        shown = q <= 0.05
        shares.append(shown[broken:].sum() / max(shown.sum(), 1))
        found += int(shown[:broken].sum())
    assert np.mean(shares) <= 0.05
    assert found > 500 * broken * 0.5 - 1
