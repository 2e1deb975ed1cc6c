"""The capacity search against servers whose capacity is known."""

from collections.abc import Callable

import numpy as np
import pytest

from quantcheck.errors import SpecError
from quantcheck.load.search import Observation, find_max, observe


class Server:
    """All requests are good up to `knee`; above it ever fewer. `noise`: sd of a probe's own effect, in logits."""

    def __init__(self, knee: float, seed: int, *, requests: int = 100, noise: float = 0.0, slope: float = 40.0) -> None:
        self.knee, self.requests, self.noise, self.slope = knee, requests, noise, slope
        self.rng = np.random.default_rng(seed)
        self.probes: list[tuple[float, int]] = []

    def __call__(self, load: float, repeat: int) -> Observation:
        self.probes.append((load, repeat))
        # Exactly at the knee the expected share is 95%.
        logit = np.log(19) - self.slope * (load / self.knee - 1) + self.noise * self.rng.normal()
        return Observation(int(self.rng.binomial(self.requests, 1 / (1 + np.exp(-logit)))), self.requests, True)


def step(knee: float, seed: int) -> Callable[[float, int], Observation]:
    """Share met 1 up to the knee, and dropping above; a little noise."""
    rng = np.random.default_rng(seed)

    def probe(load: float, repeat: int) -> Observation:
        share = 0.995 if load <= knee else max(0.0, 0.85 - 2 * (load / knee - 1))
        return Observation(int(rng.binomial(200, share)), 200)

    return probe


@pytest.mark.parametrize("knee", [37, 120])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_brackets_the_knee_in_streams(knee: int, seed: int) -> None:
    found = find_max(step(knee, seed), share=0.95, start=1, limit=1024, integer=True)
    assert found.highest is not None
    assert found.lowest is not None
    assert found.highest <= knee < found.lowest
    assert found.lowest / found.highest <= 1.05
    assert not found.unsettled
    assert f"{found.highest:g} meets the SLO" in found.reason


@pytest.mark.parametrize("knee", [37.0, 120.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_brackets_the_knee_in_requests_per_second(knee: float, seed: int) -> None:
    found = find_max(step(knee, seed), share=0.95, start=1.5, limit=1000, integer=False)
    assert found.highest is not None
    assert found.lowest is not None
    assert found.highest <= knee < found.lowest
    assert found.lowest / found.highest - 1 <= 0.02


@pytest.mark.parametrize("seed", range(6))
def test_a_noisy_knee_is_bracketed_near_enough(seed: int) -> None:
    server = Server(37, seed, noise=0.7)
    found = find_max(server, share=0.95, start=1, limit=1024, integer=True)
    assert found.highest is not None
    assert found.lowest is not None
    assert found.highest == pytest.approx(37, rel=0.08)
    assert found.lowest == pytest.approx(37, rel=0.08)


def test_the_number_of_probes_is_bounded() -> None:
    for seed in range(20):
        server = Server(37, seed, noise=2.0, slope=3, requests=60)
        found = find_max(server, share=0.95, start=1, limit=1024, integer=True, repeats=4)
        # At most 11 levels up and 9 levels of bisection.
        assert len(found.levels) <= 20
        assert len(server.probes) == len(found.probes) <= 4 * len(found.levels)
        assert max(repeat for _, repeat in server.probes) <= 3


def test_all_loads_meet_it_up_to_the_limit() -> None:
    found = find_max(lambda load, repeat: Observation(100, 100, True), share=0.95, start=4, limit=100, integer=True)
    assert (found.highest, found.lowest) == (100, None)
    assert [level.load for level in found.levels] == [4, 8, 16, 32, 64, 100]
    assert "up to the limit of 100" in found.reason


def test_no_load_meets_it() -> None:
    found = find_max(lambda load, repeat: Observation(0, 100, True), share=0.95, start=8, limit=100, integer=True)
    assert (found.highest, found.lowest) == (None, 1)
    assert [level.load for level in found.levels] == [8, 4, 2, 1]
    assert found.reason.startswith("no load meets the SLO: at 1")
    slow = find_max(lambda load, repeat: Observation(0, 100), share=0.95, start=8, limit=9, integer=False, floor=3)
    assert [level.load for level in slow.levels] == [8, 4, 3]


def test_a_start_above_the_knee_goes_down_first() -> None:
    found = find_max(step(37, 0), share=0.95, start=500, limit=1000, integer=True)
    assert (found.highest, found.lowest) == (37, 38)


def test_no_steady_state_fails_by_two_probes_not_by_one() -> None:
    def moody(load: float, repeat: int) -> Observation:
        # One false alarm at every load; from 20 on the queue really grows, though answers are still good.
        return Observation(100, 100, load < 20 and repeat > 0)

    found = find_max(moody, share=0.95, start=10, limit=80, integer=True)
    assert (found.highest, found.lowest) == (19, 20)
    assert "2 of 2 probes found no steady state" in found.reason
    assert len(found.levels[0].observations) == 3


def test_requests_of_one_probe_are_not_taken_for_independent() -> None:
    counts = iter([955, 930, 990, 900, 990])

    def bursty(load: float, repeat: int) -> Observation:
        return Observation(next(counts), 1000)

    level = find_max(bursty, share=0.95, start=1, limit=1, integer=True).levels[0]
    # As independent requests the first three probes would have said that 95.8% +- 0.7% are good.
    assert len(level.observations) == 5
    assert level.unsettled
    assert level.low < 0.92


def test_an_undecided_load_goes_by_its_estimate_and_says_so() -> None:
    found = find_max(lambda load, repeat: Observation(95, 100), share=0.95, start=1, limit=1, integer=True, repeats=3)
    assert found.highest == 1
    assert found.unsettled
    assert len(found.probes) == 3
    assert "unsettled" in found.levels[0].reason


def test_a_probe_without_requests_fails() -> None:
    found = find_max(lambda load, repeat: Observation(0, 0), share=0.9, start=1, limit=2, integer=True)
    assert found.highest is None
    assert "no request was measured" in found.reason


def test_the_record_is_plain_data() -> None:
    record = find_max(step(3, 0), share=0.9, start=1, limit=8, integer=True).as_json()
    assert record["probes"][0] == {"load": 1, "repeat": 0, "observation": record["levels"][0]["observations"][0]}
    assert observe({"slo": {"met": 3, "total": 4}, "window": {"steady": None}}) == Observation(3, 4, None)


@pytest.mark.parametrize(("change", "message"), [
    ({"start": 0}, "0 < floor <= start <= limit"), ({"limit": 1}, "0 < floor <= start <= limit"),
    ({"share": 1.0}, "not between 0 and 1"), ({"resolution": 0}, "above 0"), ({"repeats": 0}, "at least 1"),
    ({"start": 2.5}, "whole"),
])
def test_mistakes_are_told(change: dict[str, float], message: str) -> None:
    given = {"share": 0.9, "start": 2, "limit": 8, "resolution": 0.02, "repeats": 5} | change
    with pytest.raises(SpecError, match=message):
        find_max(lambda load, repeat: Observation(1, 1), integer=True, **given)  # type: ignore[arg-type]
