"""Runs a schedule against a server by worker processes, watches them, and brings back what they received."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from quantcheck.errors import SpecError
from quantcheck.load.crew import Crew
from quantcheck.load.decode import read_flights
from quantcheck.load.exchange import Exchange
from quantcheck.load.figures import spread
from quantcheck.load.handover import Job
from quantcheck.load.parcel import pack
from quantcheck.load.schedule import Schedule
from quantcheck.load.sending import Limits
from quantcheck.load.target import Target

__all__ = ["WATCH_S", "Pulse", "Send", "Traffic", "run_schedule", "traffic_of", "workers_for"]

WATCH_S = 0.05
STREAMS_PER_WORKER = 2048
RATE_PER_WORKER = 2000.0
HEAD_START_NS = 3_000_000


@dataclass(frozen=True, slots=True)
class Pulse:
    """How far a load is: `requests` in all, of which `sent`, `done`, `failed` (on the wire) and `busy` (in flight)."""

    elapsed_s: float
    requests: int
    sent: int
    done: int
    failed: int
    busy: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What came back: exchanges in the order in which they were sent; `facts` of the client itself."""

    exchanges: list[Exchange]
    facts: dict[str, Any] = field(default_factory=dict)


class Send(Protocol):
    """`run_schedule`, or what does the same from several hosts."""

    def __call__(
        self, target: Target, schedule: Schedule | Callable[[], Schedule], *, path: str, streams: int | None,
        rate: float | None = None, limits: Limits, workers: int | None = None, kernel_stamps: bool = True,
        key_variable: str | None = None, scratch: Path | None = None, watch: Callable[[Pulse], None] | None = None,
        keep_on_interrupt: bool = False,
    ) -> Traffic: ...


def run_schedule(
    target: Target,
    schedule: Schedule | Callable[[], Schedule],
    *,
    path: str,
    streams: int | None,
    rate: float | None = None,
    limits: Limits,
    workers: int | None = None,
    kernel_stamps: bool = True,
    key_variable: str | None = None,
    scratch: Path | None = None,
    watch: Callable[[Pulse], None] | None = None,
    keep_on_interrupt: bool = False,
) -> Traffic:
    """Sends `schedule` in a closed loop of `streams`, or at its due times (`streams` None), and waits for the end.

    A function is called for the schedule while the workers start. `rate` (requests/s) helps to say how many workers an
    open loop needs. `path` is appended to the target's. `watch` is called some twenty times a second; what it raises
    ends the load. With `keep_on_interrupt`, Ctrl-C ends the load and what was received is returned
    (`facts["interrupted"]`), within 2 s. Raises `SpecError` for more connections than the system allows, `EngineError`
    when a worker dies.
    """
    count = workers_for(streams, rate, workers, len(os.sched_getaffinity(0)))
    interrupted = False
    with Crew(range(count), count, scratch) as crew:
        plan = schedule() if callable(schedule) else schedule
        parcel = pack(target, plan, path=path, streams=streams or 0, limits=limits, workers=count,
                      kernel_stamps=kernel_stamps, key_variable=key_variable)
        crew.give(parcel)
        try:
            crew.wait_ready()
            crew.board.start_ns = time.monotonic_ns() + HEAD_START_NS
            _watch(crew, len(plan), watch)
        except KeyboardInterrupt:
            if not keep_on_interrupt:
                raise
            interrupted = True
            crew.leave()
        start_ns = crew.board.start_ns
        found = [read_flights(crew.folder, number, plan, start_ns) for number in crew.wrote()]
    return traffic_of(found, parcel.job, start_ns, {"interrupted": interrupted})


def workers_for(streams: int | None, rate: float | None, wanted: int | None, cores: int) -> int:
    """How many processes: one does, up to some thousand streams; then one per core."""
    if wanted is not None:
        if streams is not None and wanted > streams:
            raise SpecError(f"{wanted} workers for {streams} streams: give at most as many workers as streams")
        return wanted
    need = streams / STREAMS_PER_WORKER if streams is not None else (rate or 0.0) / RATE_PER_WORKER
    return max(1, min(int(np.ceil(need)), cores))


def _watch(crew: Crew, requests: int, watch: Callable[[Pulse], None] | None) -> None:
    began = time.monotonic()
    while not crew.finished():
        if watch is not None:
            watch(Pulse(time.monotonic() - began, requests,
                        *map(crew.board.total, ("sent", "done", "failed", "busy"))))
        time.sleep(WATCH_S)


def traffic_of(
    found: Iterable[tuple[list[Exchange], dict[str, Any]]], job: Job, start_ns: int, more: dict[str, Any]
) -> Traffic:
    """What all workers brought back, as one; `more`: further facts."""
    shares = list(found)
    exchanges = sorted((exchange for share, _ in shares for exchange in share), key=lambda exchange: exchange.sent_ns)
    return Traffic(exchanges, _facts([facts for _, facts in shares], job, start_ns) | more)


def _facts(workers: Sequence[dict[str, Any]], job: Job, start_ns: int) -> dict[str, Any]:
    return {
        "start_ns": start_ns,
        "workers": job.workers,
        "transport": workers[0]["transport"] if workers else None,
        "kernel_stamps_asked": job.kernel_stamps,
        "cpu_s": sum(facts["cpu_s"] for facts in workers),
        "wall_s": max((facts["wall_s"] for facts in workers), default=0.0),
        "connections": sum(facts["connections"] for facts in workers),
        "resent": sum(facts["resent"] for facts in workers),
        "closed_idle": sum(facts["closed_idle"] for facts in workers),
        "loop_lag": spread(np.array([lag for facts in workers for lag in facts["lags"]]) / 1e9),
        "clock_steps": sum(facts["clock_steps"] for facts in workers),
        "ended_early": next((facts["ended_early"] for facts in workers if facts["ended_early"]), None),
    }
