"""Arrivals are the process they say, by tests that know nothing of how they were drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from quantcheck.errors import SpecError
from quantcheck.load.arrivals import due_ns, gaps_s
from quantcheck.spec.load import Arrival

POISSON = Arrival(process="poisson")
COUNT = 20_000


def gaps_of(due: np.ndarray) -> np.ndarray:
    return np.diff(due, prepend=0) / 1e9


@pytest.mark.parametrize("seed", range(3))
def test_poisson_gaps_are_exponential(seed: int) -> None:
    gaps = gaps_of(due_ns(POISSON, 200.0, COUNT, seed))
    assert stats.kstest(gaps, stats.expon(scale=1 / 200).cdf).pvalue > 0.005
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 4 / np.sqrt(COUNT)
    counts = np.histogram(np.cumsum(gaps), bins=np.arange(0, gaps.sum() - 1, 1.0))[0]
    assert counts.mean() == pytest.approx(200, rel=0.03)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.6)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gamma_gaps(burstiness: float) -> None:
    gaps = gaps_of(due_ns(Arrival(process="gamma", burstiness=burstiness), 50.0, COUNT, 7))
    assert stats.kstest(gaps, stats.gamma(burstiness, scale=1 / (50 * burstiness)).cdf).pvalue > 0.005
    assert gaps.std() / gaps.mean() == pytest.approx(1 / np.sqrt(burstiness), rel=0.05)
    assert 1 / gaps.mean() == pytest.approx(50, rel=5 / np.sqrt(COUNT * burstiness))


def test_gamma_of_burstiness_1_is_poisson() -> None:
    one = due_ns(Arrival(process="gamma", burstiness=1.0), 9.0, 100, 3)
    assert one.tolist() == due_ns(POISSON, 9.0, 100, 3).tolist()


def test_a_constant_rate() -> None:
    assert due_ns(Arrival(process="constant"), 8.0, 4, 0).tolist() == [125_000_000 * k for k in (1, 2, 3, 4)]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.one_of(st.tuples(st.sampled_from(["constant", "poisson"]), st.just(1.0)),
                    st.tuples(st.just("gamma"), st.floats(0.05, 50))),
    rate=st.floats(0.01, 1e5), count=st.integers(0, 200), seed=st.integers(0, 2**64 - 1), workers=st.integers(1, 7),
)
def test_any_arrivals_ascend_come_again_and_are_split_without_a_change(
    shape: tuple[str, float], rate: float, count: int, seed: int, workers: int
) -> None:
    arrival = Arrival.model_validate(dict(zip(("process", "burstiness"), shape, strict=True)))
    due = due_ns(arrival, rate, count, seed)
    assert due.dtype == np.int64
    assert len(due) == count
    assert (np.diff(due, prepend=0) >= 0).all()
    assert due.tolist() == due_ns(arrival, rate, count, seed).tolist()
    shares = [due_ns(arrival, rate, count, seed)[worker::workers] for worker in range(workers)]
    assert np.sort(np.concatenate(shares)).tolist() == due.tolist()


def test_a_share_of_workers_is_thinned_not_repeated() -> None:
    due = due_ns(POISSON, 200.0, COUNT, 1)
    gaps = [np.diff(due[worker::4]) for worker in range(4)]
    assert len(np.intersect1d(gaps[0], gaps[1])) < COUNT // 100
    assert stats.kstest(gaps[2] / 1e9, stats.gamma(4, scale=1 / 200).cdf).pvalue > 0.005


def test_seeds_differ_and_a_longer_sequence_begins_with_the_shorter() -> None:
    assert due_ns(POISSON, 5.0, 50, 1).tolist() != due_ns(POISSON, 5.0, 50, 2).tolist()
    assert due_ns(POISSON, 5.0, 80, 1)[:50].tolist() == due_ns(POISSON, 5.0, 50, 1).tolist()


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(SpecError, match="rate: .*give a number above 0"):
        gaps_s(POISSON, rate, 1, np.random.default_rng(0))


def test_a_rate_beyond_all_clocks() -> None:
    with pytest.raises(SpecError, match="give a higher rate"):
        due_ns(POISSON, 1e-12, 10, 0)
