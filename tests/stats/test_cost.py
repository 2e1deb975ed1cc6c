"""Prices against a published table, against arithmetic by hand, and the interval's ends."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.stats.cost import amortised, token_cost, usd_per_million

# Llama-2-70B on H100s at $3.50 an hour, as published: accelerators, output tokens/s, USD per million output tokens.
PUBLISHED = {
    "FP16 on two": (2, 2_150.0, 0.905),
    "INT8 on one": (1, 3_400.0, 0.286),
    "INT4 on one": (1, 5_800.0, 0.168),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_70b_example(name: str) -> None:
    gpus, tokens_per_s, published = PUBLISHED[name]
    cost = usd_per_million(tokens_per_s, 3.50 * gpus)
    # The source rounds up: 7 / 3600 / 2150 x 1e6 is 0.90439, which it gives as 0.905.
    assert math.ceil(cost * 1_000) / 1_000 == published


@pytest.mark.parametrize(("name", "nearest"), [("FP16 on two", 0.904), ("INT8 on one", 0.286), ("INT4 on one", 0.168)])
def test_to_the_nearest_tenth_of_a_cent(name: str, nearest: float) -> None:
    gpus, tokens_per_s, _ = PUBLISHED[name]
    assert round(usd_per_million(tokens_per_s, 3.50 * gpus), 3) == nearest


def test_a_token_a_second_for_an_hour() -> None:
    # $3.60 an hour is $0.001 a second; a million tokens at 1 token/s take a million seconds.
    assert usd_per_million(1.0, 3.60) == pytest.approx(1_000.0, rel=1e-12)


def test_the_ends_of_the_interval_change_places() -> None:
    cost = token_cost(1_000.0, 800.0, 1_250.0, 3.60)
    assert (cost.estimate, cost.low, cost.high) == pytest.approx((1.0, 0.8, 1.25))


@pytest.mark.parametrize(("low", "high"), [(None, None), (0.0, 2_000.0), (-5.0, 2_000.0)])
def test_a_throughput_that_may_be_nothing_has_no_dearest_price(low: float | None, high: float | None) -> None:
    cost = token_cost(1_000.0, low, high, 3.60)
    assert cost.estimate == pytest.approx(1.0)
    assert (cost.low, cost.high) == (None, None)


@pytest.mark.parametrize("tokens_per_s", [0.0, -1.0, math.nan])
def test_no_tokens_have_no_price(tokens_per_s: float) -> None:
    with pytest.raises(ValueError, match="no price"):
        usd_per_million(tokens_per_s, 3.5)


def test_quantizing_is_spread_over_the_tokens() -> None:
    # Two hours at $3.50 are $7; over 1e9 tokens, 1,000 million, that is $0.007 a million.
    assert amortised(7_200, 3.50, 1e9) == pytest.approx(0.007)
    with pytest.raises(ValueError, match="no tokens"):
        amortised(7_200, 3.50, 0)


@given(st.floats(1, 1e6), st.floats(0.01, 1e3), st.floats(1.01, 100))
def test_twice_the_speed_is_half_the_price(tokens_per_s: float, hour: float, times: float) -> None:
    assert usd_per_million(tokens_per_s * times, hour) == pytest.approx(usd_per_million(tokens_per_s, hour) / times)
    assert usd_per_million(tokens_per_s, hour * times) == pytest.approx(usd_per_million(tokens_per_s, hour) * times)
