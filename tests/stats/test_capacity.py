"""The highest load that meets an SLO: known crossings, censored ladders, and coverage over blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from quantcheck.stats import Crossing, crossing, interpolated, summarize_crossings

LADDER = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


def test_crossings_by_hand() -> None:
    # From 1.0 at 4 to 0.8 at 8: 0.95 is a quarter of the way, on the logarithm 2^2.25.
    found = crossing(LADDER, np.array([1, 1, 1, 0.8, 0.0]), 0.95)
    assert (found.load, found.bound) == (pytest.approx(2**2.25), "exact")
    found = crossing(LADDER, np.array([1, 1, 0.95, 0.2, 0.0]), 0.95)
    assert (found.load, found.bound) == (pytest.approx(4.0), "exact")
    assert crossing(LADDER, np.ones(5), 0.95) == Crossing(16.0, "at least")
    assert crossing(LADDER, np.array([0.9, 0.9, 0.1, 0, 0]), 0.95) == Crossing(1.0, "below")
    assert crossing(LADDER[:1], np.array([0.95]), 0.95) == Crossing(1.0, "at least")


def test_a_share_that_rises_again_is_averaged_with_its_neighbour() -> None:
    # 0.93 and 0.97 become 0.95 both, which meets it: the crossing is at 4.
    assert crossing(LADDER, np.array([1, 0.93, 0.97, 0.5, 0.0]), 0.95).load == pytest.approx(4.0)
    assert crossing(LADDER, np.array([1, 0.90, 0.97, 0.5, 0.0]), 0.95).load < 2


@pytest.mark.parametrize("loads", [[], [2.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
def test_a_ladder_ascends(loads: list[float]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        crossing(np.array(loads), np.ones(len(loads)), 0.9)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.floats(0.01, 0.99))
def test_the_crossing_lies_in_the_ladder_and_falls_with_the_target(shares: list[float], target: float) -> None:
    found = crossing(LADDER, np.array(shares), target)
    assert 1.0 <= found.load <= 16.0 * (1 + 1e-12)
    lower = crossing(LADDER, np.array(shares), target / 2)
    assert lower.load >= found.load * (1 - 1e-12)


def test_figures_between_rungs_are_linear_in_both_logarithms() -> None:
    throughput = 100 * LADDER**0.7
    assert interpolated(LADDER, throughput, 5.0) == pytest.approx(100 * 5.0**0.7)
    assert interpolated(LADDER, throughput, 99.0) == pytest.approx(throughput[-1])


def test_blocks_together() -> None:
    exact, top, low = Crossing(4.0, "exact"), Crossing(16.0, "at least"), Crossing(1.0, "below")
    bound, interval = summarize_crossings([exact, Crossing(9.0, "exact"), exact])
    assert bound == "exact"
    assert interval is not None
    assert interval.estimate == pytest.approx((4 * 9 * 4) ** (1 / 3))
    assert interval.low is not None
    for blocks, wanted, value in [
        ([top] * 3, "at least", 16.0), ([exact, exact, top], "exact", 4.0),
        ([exact, top, top], "at least", 16.0), ([low, exact, top], "exact", 4.0),
    ]:  # fmt: skip
        bound, interval = summarize_crossings(blocks)
        assert bound == wanted
        assert interval is not None
        assert (interval.estimate, interval.low) == (value, None)
        assert interval.reason
    assert summarize_crossings([low, low, exact]) == ("below", None)
    assert summarize_crossings([exact, low]) == ("below", None)  # of two, the worse
    with pytest.raises(ValueError, match="no block"):
        summarize_crossings([])


def test_the_interval_covers_the_load_that_the_ladder_shows() -> None:
    rng = np.random.default_rng(5)
    # Good requests fall from all to none around 6 streams; every block's knee lies 5% elsewhere.
    loads = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 11.0, 16.0])
    target, requests, trials = 0.9, 400, 1_000
    shares = expit(-12 * (np.log(loads) - np.log(6)))
    truth = crossing(loads, shares, target).load
    assert truth == pytest.approx(6 * np.exp(-logit(target) / 12), rel=0.02)
    hits = 0
    for _ in range(trials):
        blocks = []
        for _ in range(4):
            knee = np.log(6) + rng.normal(0, 0.05)
            good = rng.binomial(requests, expit(-12 * (np.log(loads) - knee))) / requests
            blocks.append(crossing(loads, good, target))
        bound, interval = summarize_crossings(blocks)
        assert bound == "exact"
        assert interval is not None
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= truth <= interval.high
    assert 0.92 <= hits / trials <= 0.97
