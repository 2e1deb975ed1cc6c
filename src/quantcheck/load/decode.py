"""From a worker's files to exchanges: HTTP framing taken off, the kernel's stamps brought to the monotonic clock."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httptools
import numpy as np
from numpy.typing import NDArray

from quantcheck.load.exchange import Exchange
from quantcheck.load.flight import FAULTS, is_interim
from quantcheck.load.handover import FLIGHT_COLUMNS
from quantcheck.load.schedule import PHASES, Schedule

__all__ = ["Ahead", "read_flights"]

Ahead = Callable[[NDArray[np.int64]], NDArray[np.int64]]
SENT, END, READS = map(FLIGHT_COLUMNS.index, ("sent_ns", "end_ns", "reads"))
EARLY_NS = 50_000
"""How far the two clocks' reading may be off: a kernel stamp that lies later than this after ours is not believed."""
STEP_NS = 1_000_000
"""A jump of the wall clock, against the monotonic one, between two readings 20 ms apart."""


class _Response:
    """One HTTP response, taken apart read by read."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        if self.status is not None and is_interim(self.status):
            self.status, self.headers = None, {}

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def pieces(self, reads: list[bytes]) -> list[bytes]:
        """The body bytes of each read; nothing of what comes after a read that is not HTTP."""
        found: list[bytes] = []
        feed = self._parser.feed_data
        for data in reads:
            try:
                feed(data)
            except httptools.HttpParserError:
                break
            body = self._body
            found.append(body[0] if len(body) == 1 else b"".join(body))
            body.clear()
        return found + [b""] * (len(reads) - len(found))


def read_flights(
    folder: Path, worker: int, schedule: Schedule, start_ns: int, ahead: Ahead | None = None
) -> tuple[list[Exchange], dict[str, Any]]:
    """What worker `worker` left in `folder`: its exchanges in the order in which they ended, and its facts.

    `facts["clock_steps"]` says how often the wall clock was set while it ran: kernel stamps are not used then.
    `start_ns` is of the worker's clock. `ahead` brings its stamps to another: by how many ns that is ahead at each of
    the times given. All of one exchange are moved alike, by what holds when it was sent: its latencies stay what its
    own clock measured.
    """
    facts: dict[str, Any] = json.loads((folder / f"facts.{worker}.json").read_text(encoding="utf-8"))
    flights = np.fromfile(folder / f"flights.{worker}.i64", np.int64).reshape(-1, len(FLIGHT_COLUMNS))
    data = memoryview((folder / f"data.{worker}.bin").read_bytes())
    user = np.fromfile(folder / f"stamps.{worker}.i64", np.int64)
    timespecs = np.fromfile(folder / f"kernel.{worker}.bin", np.int64).reshape(-1, 2)
    kernel = _to_monotonic(timespecs[:, 0] * 1_000_000_000 + timespecs[:, 1], user, facts)
    lengths: list[int] = np.fromfile(folder / f"lengths.{worker}.i64", np.int64).tolist()
    details: dict[str, str] = facts.pop("details")
    exchanges = []
    moved = np.zeros(len(flights), np.int64) if ahead is None else ahead(flights[:, SENT])
    by_read = np.repeat(moved, flights[:, READS])
    user, kernel = user + by_read, np.where(kernel > 0, kernel + by_read, 0)
    flights[:, [SENT, END]] += moved[:, None]
    starts: list[int] = (start_ns + moved).tolist()
    first_read = first_byte = 0
    for (request, stream, phase, _, sent_ns, end_ns, fault, _, count, size), start in zip(
            flights.tolist(), starts, strict=True):
        cuts = [first_byte]
        for length in lengths[first_read : first_read + count]:
            cuts.append(cuts[-1] + length)
        response = _Response()
        pieces = response.pieces([bytes(data[a:b]) for a, b in pairwise(cuts)])
        exchanges.append(Exchange(
            request=request,
            stream=stream,
            phase=PHASES[phase],
            prompt_tokens=int(schedule.prompt_tokens[request]),
            wanted=int(schedule.output_tokens[request]),
            forced=schedule.forced,
            due_ns=None if schedule.due_ns is None else start + int(schedule.due_ns[request]),
            sent_ns=sent_ns,
            end_ns=end_ns,
            status=response.status,
            headers=response.headers,
            fault=None if fault < 0 else FAULTS[fault],
            detail=details.get(str(request), ""),
            pieces=pieces,
            user_ns=user[first_read : first_read + count],
            kernel_ns=kernel[first_read : first_read + count],
        ))
        first_read, first_byte = first_read + count, first_byte + size
    return exchanges, facts


def _to_monotonic(real: NDArray[np.int64], user: NDArray[np.int64], facts: dict[str, Any]) -> NDArray[np.int64]:
    """Kernel stamps (CLOCK_REALTIME) on the monotonic clock; 0 where there is none or it cannot be true."""
    clocks = np.array(facts.pop("clocks"), np.int64).reshape(-1, 2)
    offset = clocks[:, 0] - clocks[:, 1]
    steps = int(np.count_nonzero(np.abs(np.diff(offset)) > STEP_NS))
    facts["clock_steps"] = steps
    if steps or not len(clocks):
        return np.zeros(len(real), np.int64)
    base = offset[0]
    # The wall clock may be slewed: its offset is followed, and interpolated in between.
    shift = base + np.rint(np.interp(real, clocks[:, 1], (offset - base).astype(np.float64))).astype(np.int64)
    found: NDArray[np.int64] = np.where(real > 0, real + shift, 0)
    found[found > user + EARLY_NS] = 0
    return np.minimum(found, user)
