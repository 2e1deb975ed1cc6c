"""The test that ignores pairing equals statsmodels'."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from quantcheck.stats import compare_items
from quantcheck.stats.unpaired import two_proportions


@given(st.data(), st.integers(2, 400), st.integers(2, 400))
def test_equals_statsmodels(data: st.DataObject, baseline_n: int, variant_n: int) -> None:
    ours, theirs = data.draw(st.integers(1, baseline_n - 1)), data.draw(st.integers(1, variant_n - 1))
    found = two_proportions(ours, baseline_n, theirs, variant_n)
    z, p = proportions_ztest([theirs, ours], [variant_n, baseline_n])
    low, high = confint_proportions_2indep(theirs, variant_n, ours, baseline_n, compare="diff", method="wald")
    assert (found.z, found.p) == pytest.approx((z, p), abs=1e-9)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_pairing_buys_width() -> None:
    baseline = np.arange(1_000) < 600
    variant = baseline.copy()
    variant[:20] = False
    loose = two_proportions(600, 1_000, 580, 1_000)
    paired = compare_items(baseline, variant, margin=0.01)
    assert loose.delta == pytest.approx(paired.flips.delta)
    assert loose.p > 0.3
    assert paired.p < 1e-4
    assert paired.high - paired.low < (loose.high - loose.low) / 4


def test_nothing_to_tell_apart_and_nothing_to_compare() -> None:
    assert two_proportions(5, 5, 7, 7).p == 1.0
    assert two_proportions(0, 5, 0, 7).z == 0.0
    for counts in ((6, 5, 1, 2), (0, 0, 1, 2), (1, 2, -1, 2)):
        with pytest.raises(ValueError, match="not proportions"):
            two_proportions(*counts)
