"""Lengths follow the distribution that was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from quantcheck.errors import SpecError
from quantcheck.load.lengths import draw, longest
from quantcheck.spec.load import Length, Lognormal, Uniform


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_number_is_itself() -> None:
    assert draw(64, 3, rng()).tolist() == [64, 64, 64]
    assert longest(64) == 64


def test_uniform_has_both_ends_and_equal_shares() -> None:
    lengths = draw(Uniform(min=3, max=12), 20_000, rng())
    values, counts = np.unique(lengths, return_counts=True)
    assert values.tolist() == list(range(3, 13))
    assert stats.chisquare(counts).pvalue > 0.005
    assert longest(Uniform(min=3, max=12)) == 12


@pytest.mark.parametrize("length", [
    Lognormal(median=200, sigma=0.8, min=4, max=2000),
    Lognormal(median=6, sigma=2.0, min=1, max=40),
    Lognormal(median=10, sigma=0.5, min=10, max=30),
])
def test_lognormal_is_truncated_as_if_redrawn(length: Lognormal) -> None:
    lengths = draw(length, 20_000, rng(1))
    assert (lengths.min() >= length.min, lengths.max() <= length.max) == (True, True)
    # the oracle really redraws
    drawn = np.rint(stats.lognorm(length.sigma, scale=length.median).rvs(200_000, random_state=2))
    oracle = drawn[(drawn >= length.min) & (drawn <= length.max)]
    edges = np.unique(np.quantile(oracle, np.linspace(0, 1, 12)))
    edges[-1] += 1
    seen, expected = np.histogram(lengths, edges)[0], np.histogram(oracle, edges)[0]
    assert stats.chi2_contingency([seen, expected]).pvalue > 0.005
    assert longest(length) == length.max


def test_a_narrow_lognormal_and_a_wide_one() -> None:
    assert set(draw(Lognormal(median=50, sigma=1e-9, max=100), 100, rng()).tolist()) == {50}
    wide = draw(Lognormal(median=50, sigma=1e6, max=100), 100, rng())
    assert (wide.min() >= 1, wide.max() <= 100) == (True, True)


any_length = st.one_of(
    st.integers(1, 10_000),
    st.tuples(st.integers(1, 5000), st.integers(0, 5000)).map(lambda t: Uniform(min=t[0], max=t[0] + t[1])),
    st.tuples(st.integers(1, 500), st.integers(0, 500), st.integers(0, 5000), st.floats(0.01, 20)).map(
        lambda t: Lognormal(min=t[0], median=t[0] + t[1], max=t[0] + t[1] + t[2], sigma=t[3])),
)


@settings(max_examples=80, deadline=None)
@given(length=any_length, first=st.integers(0, 50), then=st.integers(0, 50), seed=st.integers(0, 2**32))
def test_any_lengths_are_in_bounds_and_continue(length: Length, first: int, then: int, seed: int) -> None:
    source = rng(seed)
    parts = np.concatenate([draw(length, first, source), draw(length, then, source)])
    assert parts.dtype == np.int32
    assert parts.tolist() == draw(length, first + then, rng(seed)).tolist()
    least = length if isinstance(length, int) else length.min
    assert ((parts >= least) & (parts <= longest(length))).all()


def test_a_length_beyond_all_servers() -> None:
    with pytest.raises(SpecError, match="give a shorter length"):
        draw(2**31, 1, rng())
