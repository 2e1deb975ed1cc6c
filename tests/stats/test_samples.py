"""Intervals of a share and of a quantile: against published values, and by their promised coverage."""

import numpy as np
import pytest

from quantcheck.stats.samples import quantile_interval, share_interval


@pytest.mark.parametrize(("hits", "n", "low", "high"), [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
])
def test_wilson_as_newcombe_prints_it(hits: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, Statist. Med. 17:857, table I, method 3."""
    found = share_interval(hits, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_all_is_as_far_from_certain_as_none() -> None:
    assert share_interval(20, 20).low == pytest.approx(1 - (share_interval(0, 20).high or 0.0))
    assert share_interval(20, 20).high == 1.0


def test_the_median_of_forty_lies_between_the_14th_and_the_27th() -> None:
    found = quantile_interval(np.arange(1.0, 41.0), 0.5)
    assert (found.estimate, found.low, found.high) == (20.5, 14.0, 27.0)


def test_a_sample_too_small_for_a_quantile_gets_no_interval() -> None:
    found = quantile_interval(np.arange(30.0), 0.9)
    assert found.low is None
    assert found.high is None
    assert "too few" in (found.reason or "")


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_the_interval_holds_the_true_quantile_as_often_as_promised(quantile: float) -> None:
    rng = np.random.default_rng(1)
    truth = -np.log(1 - quantile)
    held = [(found.low or 0.0) <= truth <= (found.high or 0.0)
            for found in (quantile_interval(rng.exponential(size=60), quantile) for _ in range(1000))]
    assert np.mean(held) >= 0.94


def test_nothing_to_go_by_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        share_interval(0, 0)
    with pytest.raises(ValueError, match="at least one"):
        quantile_interval(np.empty(0), 0.5)
