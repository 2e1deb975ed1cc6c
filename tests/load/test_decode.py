"""From a worker's files to exchanges: framing taken off, two clocks brought together."""

import http.client
import struct
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quantcheck.load.decode import read_flights
from quantcheck.load.exchange import Exchange
from quantcheck.load.flight import Flight
from quantcheck.load.handover import Counts, Harvest
from tests.load.scripted import EVENTS, HEAD, chunk, chunked, schedule
from tests.load.test_flight import by_library, cut, responses

SECOND = 1_000_000_000
TICK = 20_000_000
WALL = 1_764_000_000 * SECOND
"""The wall clock when the monotonic one is 0."""


def flight(
    reads: list[bytes], user: list[int] | None = None, real: list[int] | None = None, request: int = 0
) -> Flight:
    """A finished flight; `real`: the kernel's stamps, 0 for none."""
    made = Flight(request, 0, 1)
    stamps = user if user is not None else [SECOND + n for n in range(len(reads))]
    for data, stamp, ns in zip(reads, stamps, real if real is not None else [0] * len(reads), strict=True):
        made.keep((data, stamp, [(1, 35, struct.pack("=qq", *divmod(ns, SECOND)))] if ns else []))
    made.sent_ns, made.end_ns = SECOND - 1, (stamps or [SECOND])[-1]
    return made


def through_files(
    *flights: Flight, clocks: list[tuple[int, int]] | None = None, due_s: list[float] | None = None
) -> tuple[list[Exchange], dict[str, Any]]:
    counts = Counts(clocks=clocks if clocks is not None else [(SECOND, WALL + SECOND)])
    harvest = Harvest()
    for one in flights:
        harvest.add(one, counts)
    with tempfile.TemporaryDirectory() as name:
        harvest.write(Path(name), 0, {"clocks": counts.clocks, "details": counts.details})
        return read_flights(Path(name), 0, schedule(max(1, len(flights)), due_s=due_s), 5 * SECOND)


@given(st.data())
def test_framing_is_taken_off_as_the_library_does(data: st.DataObject) -> None:
    response = data.draw(responses())
    reads = data.draw(cut(response))
    (exchange,), _ = through_files(flight(reads))
    assert b"".join(exchange.pieces) == by_library(response)
    assert len(exchange.pieces) == len(exchange.user_ns) == len(reads)
    assert exchange.status == 200
    # A piece has nothing that had not come yet: the library, given the reads up to it, has at least as much.
    received = list(accumulate(map(len, reads)))
    given_off = list(accumulate(map(len, exchange.pieces)))
    assert all(a <= b for a, b in zip(given_off, received, strict=True))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_every_byte_is_given_with_the_read_that_brought_it(size: int) -> None:
    response = chunked(*EVENTS)
    reads = [response[at : at + size] for at in range(0, len(response), size)]
    (exchange,), _ = through_files(flight(reads))
    for upto in range(1, len(reads) + 1):
        try:
            known = by_library_partly(b"".join(reads[:upto]))
        except http.client.HTTPException:
            known = b""
        assert b"".join(exchange.pieces[:upto]) == known


def by_library_partly(begun: bytes) -> bytes:
    """What is in the chunks so far, taken apart by hand."""
    _, blank, rest = begun.partition(b"\r\n\r\n")
    found = b""
    while blank and rest:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            break
        length = int(line, 16)
        found += rest[:length]
        rest = rest[length + 2 :]
    return found


def test_what_each_field_is() -> None:
    refused = flight([], request=1)
    refused.fault, refused.detail, refused.end_ns = "refused", "ECONNREFUSED", 7
    (first, second), facts = through_files(
        flight([HEAD + chunk(EVENTS[0]), b"0\r\n\r\n"]), refused, due_s=[0.0, 0.25])
    assert (first.request, first.stream, first.phase, first.prompt_tokens, first.wanted) == (0, 0, "measured", 8, 4)
    assert (first.due_ns, second.due_ns) == (5 * SECOND, 5 * SECOND + 250_000_000)
    assert (first.status, first.fault, first.detail) == (200, None, "")
    assert first.headers == {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
    assert first.pieces == [EVENTS[0], b""]
    assert (second.status, second.fault, second.detail, second.end_ns) == (None, "refused", "ECONNREFUSED", 7)
    assert (second.pieces, second.headers, len(second.user_ns)) == ([], {}, 0)
    assert facts == {"clock_steps": 0}


def test_damage_ends_the_pieces_but_not_the_reads() -> None:
    (exchange,), _ = through_files(flight([HEAD + chunk(b"a"), b"zzz\r\n", chunk(b"b")]))
    assert exchange.pieces == [b"a", b"", b""]
    (exchange,), _ = through_files(flight([b"SSH-2.0\r\n"]))
    assert (exchange.pieces, exchange.status) == ([b""], None)


def test_interim_responses_leave_nothing_behind() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    (one, two), _ = through_files(flight([early, chunked(EVENTS[0])]), flight([early], request=1))
    assert (one.status, "link" in one.headers, b"".join(one.pieces)) == (200, False, EVENTS[0])
    assert (two.status, two.headers) == (None, {})


def test_no_request_at_all() -> None:
    assert through_files(clocks=[]) == ([], {"clock_steps": 0})


# -- clocks ----------------------------------------------------------------------------------------------------


def slewed(rates: list[float], start: int = SECOND) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Readings of both clocks a tick apart; in tick i the wall clock runs `rates[i]` too fast. Monotonic, wall - WALL.
    """
    monotonic = start + TICK * np.arange(len(rates) + 1, dtype=np.float64)
    offset = np.concatenate([[0.0], np.cumsum(TICK * np.array(rates))])
    return monotonic, monotonic + offset


def readings(monotonic: NDArray[np.float64], wall: NDArray[np.float64], noise: NDArray[np.int64] | int = 0
             ) -> list[tuple[int, int]]:
    mine = np.rint(monotonic).astype(np.int64)
    theirs = WALL + np.rint(wall).astype(np.int64) + noise
    return list(zip(mine.tolist(), theirs.tolist(), strict=True))


@settings(max_examples=50)
@given(st.lists(st.floats(-5e-4, 5e-4), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_a_slewed_wall_clock_is_followed(rates: list[float], random: Any) -> None:
    """500 ppm is the most that adjtimex slews by."""
    monotonic, wall = slewed(rates)
    true = np.sort([random.uniform(monotonic[0], monotonic[-1]) for _ in range(50)])
    real = WALL + np.rint(np.interp(true, monotonic, wall)).astype(np.int64)
    user = np.rint(true).astype(np.int64) + 200_000
    (exchange,), facts = through_files(flight([b"x"] * 50, user.tolist(), real.tolist()),
                                       clocks=readings(monotonic, wall))
    assert facts["clock_steps"] == 0
    assert np.abs(exchange.kernel_ns - true).max() < 1000
    assert np.all(exchange.kernel_ns <= exchange.user_ns)
    assert np.all(np.diff(exchange.kernel_ns) >= 0)


@given(st.lists(st.integers(-300_000, 300_000), min_size=2, max_size=30),
       st.lists(st.tuples(st.integers(0, 40 * TICK), st.integers(-100_000, 3_000_000)), min_size=1, max_size=40))
def test_stamps_of_an_exchange_never_go_back(noise: list[int], reads: list[tuple[int, int]]) -> None:
    """Whatever the clocks' readings are worth."""
    monotonic, wall = slewed([0.0] * (len(noise) - 1))
    arrived = np.sort(np.array([SECOND + at for at, _ in reads]))
    user = np.maximum.accumulate(arrived + np.array([lag for _, lag in reads]))
    (exchange,), facts = through_files(
        flight([b"x"] * len(reads), user.tolist(), (WALL + arrived).tolist()),
        clocks=readings(monotonic, wall, np.array(noise)))
    kernel = exchange.kernel_ns[exchange.kernel_ns > 0]
    assert facts["clock_steps"] == 0
    assert np.all(np.diff(kernel) >= 0)
    assert np.all(exchange.kernel_ns <= exchange.user_ns)


@pytest.mark.parametrize("step", [-3600 * SECOND, -2_000_000, 2_000_000, 3600 * SECOND])
def test_a_wall_clock_that_was_set_gives_no_stamps(step: int) -> None:
    monotonic, wall = slewed([0.0] * 10)
    wall[5:] += step
    user = [SECOND + 5_000_000 * n for n in range(1, 9)]
    (exchange,), facts = through_files(flight([b"x"] * 8, user, [WALL + ns - 30_000 for ns in user]),
                                       clocks=readings(monotonic, wall))
    assert facts["clock_steps"] == 1
    assert not exchange.kernel_ns.any()
    assert exchange.user_ns.tolist() == user


def test_stamps_later_than_our_own_are_not_believed() -> None:
    user = [2 * SECOND, 2 * SECOND + 100, 2 * SECOND + 200]
    # A little later: the clocks' reading was off; much later: it cannot be.
    real = [WALL + 2 * SECOND - 10, WALL + 2 * SECOND + 30_000, WALL + 3 * SECOND]
    (exchange,), _ = through_files(flight([b"x"] * 3, user, real), clocks=[(SECOND, WALL + SECOND)])
    assert exchange.kernel_ns.tolist() == [2 * SECOND - 10, 2 * SECOND + 100, 0]


def test_reads_without_a_kernel_stamp() -> None:
    (exchange,), _ = through_files(flight([b"x"] * 2, [2 * SECOND] * 2, [0, WALL + 2 * SECOND - 1]))
    assert exchange.kernel_ns.tolist() == [0, 2 * SECOND - 1]


def test_without_readings_of_the_clocks_there_are_no_kernel_stamps() -> None:
    (exchange,), _ = through_files(flight([b"x"], [2 * SECOND], [WALL + 2 * SECOND]), clocks=[])
    assert exchange.kernel_ns.tolist() == [0]
