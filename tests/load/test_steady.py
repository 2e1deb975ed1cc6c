"""MSER-5 and the words on steadiness, by hand and by simulation."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import lfilter

from quantcheck.load.steady import BATCH, judge_steadiness, mser

Values = NDArray[np.float64]
RUNS = 1000


def autoregressive(rng: np.random.Generator, n: int, phi: float) -> Values:
    noise = lfilter([1], [1, -phi], rng.normal(size=n + 300))[300:] * np.sqrt(1 - phi**2)
    return np.asarray(1 + 0.2 * noise)


def share_not_steady(make: Callable[[np.random.Generator], Values], seed: int, runs: int = RUNS) -> float:
    rng = np.random.default_rng(seed)
    return sum(judge_steadiness(make(rng)).steady is False for _ in range(runs)) / runs


@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_stationary_series_are_hardly_ever_called_not_steady(n: int, phi: float) -> None:
    assert share_not_steady(lambda rng: autoregressive(rng, n, phi), seed=n) < 0.02


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_skewed_latencies_are_no_reason_for_alarm(n: int) -> None:
    assert share_not_steady(lambda rng: rng.lognormal(0, 0.5, n), seed=n) < 0.02


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_overload_is_caught(n: int) -> None:
    # Latency that grows over the run by 7 standard deviations of its noise.
    def ramp(rng: np.random.Generator) -> Values:
        return np.asarray(1 + 1.4 * np.arange(n) / n + 0.2 * rng.normal(size=n))

    assert share_not_steady(ramp, seed=n) > 0.95


@pytest.mark.parametrize("n", [200, 1000])
def test_a_real_queue_over_its_capacity_is_caught(n: int) -> None:
    def queue(rng: np.random.Generator) -> Values:
        # Lindley's recursion, one server, arrivals at 1.5 times its rate.
        step = rng.uniform(0.5, 1.5, n) - rng.exponential(1 / 1.5, n)
        wait = np.cumsum(step) - np.minimum.accumulate(np.minimum(np.cumsum(step), 0))
        return np.asarray(wait + 1)

    assert share_not_steady(queue, seed=n, runs=300) > 0.95


def test_latency_that_still_falls_at_the_end_is_not_steady() -> None:
    rng = np.random.default_rng(4)
    found = judge_steadiness(3 - 2 * np.arange(100) / 100 + 0.1 * rng.normal(size=100))
    assert found.steady is False
    assert found.cut == 0
    assert "latency falls" in found.reason


def test_warm_up_is_cut_where_it_ends() -> None:
    rng = np.random.default_rng(0)
    values = 1 + 0.05 * rng.normal(size=200)
    values[:20] += 2
    found = judge_steadiness(values)
    assert found.steady is True
    assert found.cut == 20
    assert "cuts the first 20" in found.reason


@pytest.mark.parametrize("at", [30, 60, 140])
def test_a_stall_in_the_midst_is_not_cut_off_as_warm_up(at: int) -> None:
    rng = np.random.default_rng(at)
    values = 1 + 0.1 * rng.normal(size=200)
    values[at : at + 20] += np.linspace(10, 0, 20)  # all that were due while the server stood still
    assert mser(values)[0] > at // BATCH or at > 100
    found = judge_steadiness(values)
    assert found.cut == 0
    assert found.steady is True


def test_noise_alone_hardly_cuts_anything() -> None:
    rng = np.random.default_rng(9)
    cuts = [judge_steadiness(autoregressive(rng, 100, 0.3)).cut for _ in range(500)]
    assert np.mean(cuts) < 1


def test_a_small_trend_is_no_matter_however_clear() -> None:
    assert judge_steadiness(1 + 0.04 * np.arange(200) / 200).steady is True


def test_a_constant_series_loses_nothing() -> None:
    found = judge_steadiness(np.full(77, 0.1))
    assert (found.steady, found.cut) == (True, 0)


def test_too_short_to_tell() -> None:
    found = judge_steadiness(np.arange(49.0))
    assert found.steady is None
    assert found.reason == "MSER-5 not applied: 49 requests, needs 50"
    with pytest.raises(ValueError, match="at least 10 values"):
        mser(np.ones(9))


def mser_by_definition(values: list[float]) -> list[float]:
    means = [float(np.mean(values[k : k + BATCH])) for k in range(0, len(values) - BATCH + 1, BATCH)]
    return [float(np.var(means[d:])) / len(means[d:]) for d in range(len(means) // 2 + 1)]


@given(st.lists(st.floats(0.001, 1e3), min_size=10, max_size=120))
def test_mser_is_its_definition(values: list[float]) -> None:
    cut, most = mser(np.array(values))
    errors = mser_by_definition(values)
    assert most == len(errors) - 1
    assert errors[cut] == pytest.approx(min(errors), rel=1e-6, abs=1e-9 * max(values) ** 2)
