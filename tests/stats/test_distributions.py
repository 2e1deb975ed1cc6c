"""The same as scipy.stats, which is too slow to import in the command."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from quantcheck.stats.distributions import binomial_cdf, normal_quantile, t_cdf, t_quantile

freedoms = st.one_of(st.integers(1, 1000).map(float), st.just(np.inf))


@given(st.floats(1e-6, 1 - 1e-6), freedoms)
def test_quantiles(p: float, freedom: float) -> None:
    assert normal_quantile(p) == pytest.approx(stats.norm.ppf(p), rel=1e-9, abs=1e-12)
    assert float(t_quantile(p, freedom)) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-8, abs=1e-9)


@given(st.floats(-50, 50), freedoms)
def test_t_cdf(x: float, freedom: float) -> None:
    assert t_cdf(x, freedom) == pytest.approx(stats.t.cdf(x, freedom), rel=1e-9, abs=1e-14)


def test_infinite_statistics() -> None:
    assert t_cdf(np.inf, 5) == t_cdf(np.inf, np.inf) == 1.0
    assert t_cdf(-np.inf, 5) == t_cdf(-np.inf, np.inf) == 0.0


@given(st.integers(0, 300), st.data(), st.sampled_from([0.5, 0.05, 0.01]))
def test_binomial_cdf(n: int, data: st.DataObject, p: float) -> None:
    k = data.draw(st.integers(0, max(n, 1)))
    assert binomial_cdf(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-10, abs=1e-15)


def test_quantiles_of_many_freedoms_at_once() -> None:
    freedoms = np.arange(1, 50)
    np.testing.assert_allclose(t_quantile(0.975, freedoms), stats.t.ppf(0.975, freedoms), rtol=1e-9)
