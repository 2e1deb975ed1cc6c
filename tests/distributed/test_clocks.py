"""Another host's clock, found over round trips whose ways are unlike."""

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcheck.distributed.clocks import Reading, Relation, read_clock

DELAYS = st.lists(st.tuples(st.integers(0, 20_000_000), st.integers(0, 20_000_000)), min_size=1, max_size=30)
"""ns there and back, of each round trip."""
OFFSETS = st.integers(-10**15, 10**15)
DRIFTS = st.integers(-500, 500)
"""Parts per million."""


class World:
    """Time, and two clocks of it: ours is time itself, the host's runs ahead of it by `offset_ns` and drifts."""

    def __init__(self, offset_ns: int, drift_ppm: int) -> None:
        self.now_ns, self._offset_ns, self._drift_ppm = 10**12, offset_ns, drift_ppm

    def ours(self) -> int:
        return self.now_ns

    def host_at(self, ns: int) -> int:
        return ns + self._offset_ns + (ns - 10**12) * self._drift_ppm // 1_000_000

    def asking(self, delays: list[tuple[int, int]]) -> Callable[[], int]:
        left = iter(delays)

        def ask() -> int:
            there, back = next(left)
            self.now_ns += there
            found = self.host_at(self.now_ns)
            self.now_ns += back
            return found

        return ask

    def read(self, delays: list[tuple[int, int]]) -> Reading:
        return read_clock(self.asking(delays), len(delays), self.ours)


@settings(deadline=None)
@given(OFFSETS, DELAYS)
def test_the_offset_is_within_its_bound_however_unlike_the_ways_are(
    offset_ns: int, delays: list[tuple[int, int]]
) -> None:
    reading = World(offset_ns, 0).read(delays)
    assert reading.rtt_ns == min(there + back for there, back in delays)
    assert abs(reading.ahead_ns + offset_ns) <= reading.bound_ns
    assert reading.bound_ns <= reading.rtt_ns / 2 + 1
    assert abs(World(offset_ns, 0).host_at(5 * 10**12) - reading.to_host(5 * 10**12)) <= reading.bound_ns


def test_the_bound_is_reached_when_all_of_the_way_is_one_way() -> None:
    reading = World(0, 0).read([(1_000_000, 0)])
    assert (abs(reading.ahead_ns), reading.bound_ns) == (500_000, 500_000)


@settings(deadline=None)
@given(OFFSETS, DRIFTS, DELAYS, DELAYS, st.integers(10**9, 4 * 10**12), st.floats(0, 1))
def test_every_stamp_between_the_readings_is_within_the_bound(
    offset_ns: int, drift_ppm: int, before: list[tuple[int, int]], after: list[tuple[int, int]], load_ns: int, at: float
) -> None:
    world = World(offset_ns, drift_ppm)
    first = world.read(before)
    begin = world.now_ns
    world.now_ns += load_ns
    end = world.now_ns
    relation = Relation(first, world.read(after))
    true = begin + round(at * (end - begin))
    host = world.host_at(true)
    found = host + int(relation.ahead_ns(np.array([host]))[0])
    assert abs(found - true) <= relation.bound_ns + 2, "2 ns are lost in rounding"


@settings(deadline=None)
@given(OFFSETS, DRIFTS, DELAYS, DELAYS)
def test_the_drift_is_within_its_bound(
    offset_ns: int, drift_ppm: int, before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    world = World(offset_ns, drift_ppm)
    first = world.read(before)
    world.now_ns += 60 * 10**9
    told = Relation(first, world.read(after)).as_json()
    true = -1e6 * drift_ppm / (1e6 + drift_ppm)  # of ours, by the host's seconds
    assert abs(told["drift_ppm"] - true) <= told["drift_bound_ppm"] + 1e-3


def test_outside_of_the_readings_the_nearer_one_holds() -> None:
    relation = Relation(Reading(1000, 50, 2), Reading(2000, 70, 2))
    assert relation.ahead_ns(np.array([0, 1000, 1500, 2000, 9000])).tolist() == [50, 50, 60, 70, 70]
