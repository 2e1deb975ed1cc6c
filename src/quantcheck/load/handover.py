"""How a load goes to a worker process and comes back: plain files, read without copying, nothing pickled.

A folder holds `job.json` (a Job), `bodies.bin` (all request bodies), `requests.i64` (rows of REQUEST_COLUMNS) and
`board.i64` (the Board, shared memory). Worker k leaves `flights.K.i64` (rows of FLIGHT_COLUMNS), and of all its reads
in order `stamps.K.i64` (CLOCK_MONOTONIC, ns), `lengths.K.i64` (bytes), `kernel.K.bin` (struct timespec of
CLOCK_REALTIME, 0 where the kernel gave no stamp) and `data.K.bin` (what was received); and `facts.K.json`. Little is
imported here: a worker starts in a tenth of a second.
"""

import json
import mmap
import time
from array import array
from dataclasses import asdict, dataclass, field
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Self

from quantcheck.load.flight import FAULTS, Flight

__all__ = [
    "FLIGHT_COLUMNS", "MEASURED", "REQUEST_COLUMNS", "TAIL", "WARMUP", "Board", "Counts", "Harvest",
    "Job", "Request",
]

WARMUP, MEASURED, TAIL = range(3)
"""Warm-up requests come before the window; tail requests keep the load up until the last measured one is answered."""

REQUEST_COLUMNS = ("request", "offset", "length", "due_ns", "stream", "phase")
"""`request`: its number in the schedule; offset and length of its body in `bodies.bin`, bytes; `due_ns` after the
start, -1 in a closed loop."""
FLIGHT_COLUMNS = (
    "request", "stream", "phase", "connected_ns", "sent_ns", "end_ns", "fault", "resent", "reads", "bytes",
)
"""`fault`: index into flight.FAULTS, -1 for none; `reads`, `bytes`: how many entries and bytes of the other files."""
NO_STAMP = bytes(16)
TICK_NS = 20_000_000
"""How often a worker looks at the clock, its deadlines and the board."""
BEGIN_APART_NS, BEGIN_WITHIN_NS = 1_000_000, 250_000_000
"""Streams of a closed loop begin so far apart, all of them within the latter. Begun at once, they would stay in step:
a server's chunks would come in bursts, to be read one after another."""
VALUE = itemgetter(2)
"""Of a piece of ancillary data: (level, type, value)."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does. Worker k of `workers` takes the measured and tail requests i with i % workers = k, and the
    streams likewise, on whichever host it is. `streams` 0: open loop."""

    host: str
    port: int
    path: str
    headers: dict[str, str]
    streams: int
    workers: int
    request_timeout_s: float
    first_byte_timeout_s: float | None
    run_timeout_s: float
    duration_s: float | None
    kernel_stamps: bool
    secure: bool = False
    proxy: str | None = None
    key_variable: str | None = None
    """The environment variable that holds the API key: the key itself is never written anywhere."""

    def begins_ns(self, stream: int, worker: int) -> int:
        """When the worker's stream sends its first request, after the start: the same for any number of workers."""
        return (stream * self.workers + worker) * min(BEGIN_APART_NS, BEGIN_WITHIN_NS // self.streams)

    def write(self, folder: Path) -> None:
        """Last of all files: a worker that sees it has all it needs."""
        part = folder / ".job.json.part"
        part.write_text(json.dumps(asdict(self)), encoding="utf-8")
        part.replace(folder / "job.json")

    @classmethod
    def read(cls, folder: Path) -> Self:
        return cls(**json.loads((folder / "job.json").read_text(encoding="utf-8")))


class Board:
    """What parent and workers see of each other while they run: one row of int64 for each worker, memory-mapped."""

    COLUMNS = ("ready", "sent", "done", "failed", "left", "busy", "bytes", "finished")
    """`left`: measured requests that are not over; `busy`: requests in flight."""
    _HEAD = 2  # start (ns), stop (0 or 1)

    def __init__(self, folder: Path, workers: int) -> None:
        path = folder / "board.i64"
        size = 8 * (self._HEAD + workers * len(self.COLUMNS))
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        self._cells = memoryview(self._map).cast("q")
        self._workers = workers

    @property
    def start_ns(self) -> int:
        return self._cells[0]

    @start_ns.setter
    def start_ns(self, value: int) -> None:
        self._cells[0] = value

    @property
    def stop(self) -> bool:
        return bool(self._cells[1])

    @stop.setter
    def stop(self, value: bool) -> None:
        self._cells[1] = int(value)

    def put(self, worker: int, column: str, value: int) -> None:
        self._cells[self._HEAD + worker * len(self.COLUMNS) + self.COLUMNS.index(column)] = value

    def get(self, worker: int, column: str) -> int:
        return self._cells[self._HEAD + worker * len(self.COLUMNS) + self.COLUMNS.index(column)]

    def total(self, column: str) -> int:
        place = self._HEAD + self.COLUMNS.index(column)
        return sum(self._cells[place :: len(self.COLUMNS)])

    def close(self) -> None:
        self._cells.release()
        self._map.close()


@dataclass(slots=True)
class Request:
    """One request of the schedule, ready to be sent: head and body are written together, uncopied."""

    index: int
    stream: int
    phase: int
    due_ns: int
    parts: tuple[bytes, memoryview]


@dataclass(slots=True)
class Counts:
    """What a worker notes of its own doing. `clocks`: (monotonic, realtime) in ns, read together all through the run;
    `lags`: by how many ns each tick came late."""

    connections: int = 0
    closed_idle: int = 0
    ended_early: str | None = None
    resent: set[int] = field(default_factory=set)
    details: dict[int, str] = field(default_factory=dict)
    clocks: list[tuple[int, int]] = field(default_factory=list)
    lags: list[int] = field(default_factory=list)
    _tick_ns: int = 0
    _silent: int = 0
    _answered_ns: int = 0

    def over(self, flight: Flight) -> None:
        """Counts deadlines in a row. Only of requests sent after the last answer: if some requests hang and others do
        not, all streams come to hang at once in the end, and that says nothing of the server."""
        if flight.fault not in ("no_first_byte", "stalled"):
            self._silent, self._answered_ns = 0, flight.end_ns
        elif flight.sent_ns >= self._answered_ns:
            self._silent += 1

    def silence(self, job: Job) -> str | None:
        """Why the load need not go on: the server answers nothing any more."""
        if self._silent < max(2, job.streams):
            return None
        return f"{self._silent} requests in a row got no whole answer within {job.request_timeout_s:g} s each"

    def tick(self, now_ns: int) -> None:
        """Notes how late the loop came to this tick, and both clocks."""
        if self._tick_ns:
            self.lags.append(max(0, now_ns - self._tick_ns - TICK_NS))
        self._tick_ns = now_ns
        self.read_clocks()

    def read_clocks(self) -> None:
        """Of three tries the pair that was read in the shortest time."""
        tries = []
        for _ in range(3):
            before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
            tries.append((after - before, (before + after) // 2, real))
        _, monotonic, real = min(tries)
        self.clocks.append((monotonic, real))


@dataclass(slots=True)
class Harvest:
    """A worker's flights, packed as they end, so that a long run keeps bytes and not objects."""

    flights: "array[int]" = field(default_factory=lambda: array("q"))
    stamps: "array[int]" = field(default_factory=lambda: array("q"))
    lengths: "array[int]" = field(default_factory=lambda: array("q"))
    kernel: list[bytes] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)

    def add(self, flight: Flight, counts: "Counts") -> None:
        """Packs one flight."""
        if flight.detail:
            counts.details[flight.request] = flight.detail
        data, stamps, controls = zip(*flight.reads, strict=True) if flight.reads else ((), (), ())
        kernel = b"".join(map(VALUE, chain.from_iterable(controls)))
        if len(kernel) != len(NO_STAMP) * len(controls):  # the kernel left some without
            kernel = b"".join([control[0][2] if control else NO_STAMP for control in controls])
        content = b"".join(data)
        self.flights.extend((
            flight.request, flight.stream, flight.phase, flight.connected_ns, flight.sent_ns, flight.end_ns,
            -1 if flight.fault is None else FAULTS.index(flight.fault), flight.request in counts.resent,
            len(data), len(content),
        ))
        self.stamps.extend(stamps)
        self.lengths.extend(map(len, data))
        self.kernel.append(kernel)
        self.data.append(content)

    def write(self, folder: Path, worker: int, facts: dict[str, Any]) -> None:
        for name, content in (("flights", self.flights), ("stamps", self.stamps), ("lengths", self.lengths)):
            with (folder / f"{name}.{worker}.i64").open("wb") as file:
                content.tofile(file)
        for name, pieces in (("kernel", self.kernel), ("data", self.data)):
            with (folder / f"{name}.{worker}.bin").open("wb") as file:
                file.writelines(pieces)
        # Last and at once: who finds this file finds all of them whole.
        part = folder / f"facts.{worker}.part"
        part.write_text(json.dumps(facts), encoding="utf-8")
        part.replace(folder / f"facts.{worker}.json")
