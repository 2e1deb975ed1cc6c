"""The fake server's stamps, which are the truth that the client is held against."""

import struct
from collections.abc import Iterator

import pytest

from quantcheck.engines.fake import loop

AHEAD_NS = -1_700_000_000_000_000_000
"""Of the monotonic clock, to the other."""


class Clocks:
    """Two clocks that go on by 100 ns with every look, and by more where the process is interrupted before it."""

    def __init__(self, interrupted: dict[int, int]) -> None:
        self.now_ns, self.looks, self.interrupted = 5_000_000, 0, interrupted

    def monotonic_ns(self) -> int:
        self.now_ns += 100 + self.interrupted.get(self.looks, 0)
        self.looks += 1
        return self.now_ns

    def time_ns(self) -> int:
        return self.monotonic_ns() - AHEAD_NS


def stamp(real_ns: int) -> list[tuple[int, int, bytes]]:
    return [(0, 0, struct.pack("=qq", *divmod(real_ns, 1_000_000_000)))]


@pytest.fixture(params=[{}, {0: 40_000}, {1: 40_000}, {2: 40_000}, {1: 40_000, 4: 70_000}], ids=str)
def clocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clocks]:
    found = Clocks(request.param)
    monkeypatch.setattr(loop, "time", found)
    return found


def test_an_interruption_while_the_clocks_are_read_bends_no_arrival(clocks: Clocks) -> None:
    arrived_ns = clocks.now_ns - 3_000
    found = loop._arrived_ns(stamp(arrived_ns - AHEAD_NS), clocks.now_ns)
    assert abs(found - arrived_ns) <= 100


def test_nothing_arrives_after_it_was_read(clocks: Clocks) -> None:
    read_ns = clocks.now_ns
    assert loop._arrived_ns(stamp(read_ns + 50_000 - AHEAD_NS), read_ns) == read_ns
    assert loop._arrived_ns([], 77) == 77
