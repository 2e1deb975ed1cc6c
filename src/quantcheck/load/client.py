"""Runs a schedule against a server by worker processes, watches them, and brings back what they received."""

import errno
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quantcheck.errors import EngineError, SpecError, StoreError
from quantcheck.load.decode import read_flights
from quantcheck.load.exchange import Exchange
from quantcheck.load.figures import spread
from quantcheck.load.handover import Board, Job
from quantcheck.load.schedule import Schedule
from quantcheck.load.sending import Limits
from quantcheck.load.target import Target
from quantcheck.load.worker import EXIT_NO_ROOM
from quantcheck.process.managed import ManagedProcess

__all__ = ["Pulse", "Traffic", "run_schedule"]

WATCH_S = 0.05
START_S = 60.0
LEAVE_S = 1.5
"""How long a worker that is told to stop may take to write what it has."""
STREAMS_PER_WORKER = 2048
RATE_PER_WORKER = 2000.0
SPARE_FILES = 64
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
    count = _workers(streams, rate, workers)
    _raise_file_limit()
    with ExitStack() as stack:
        folder = _folder(scratch)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            board = Board(folder, count)
        except OSError as error:
            raise _no_room(folder, error) from error
        stack.callback(board.close)
        processes = [
            stack.enter_context(ManagedProcess(
                [sys.executable, "-u", "-m", "quantcheck.load.worker", str(folder), str(worker), str(count)],
                name=f"load worker {worker + 1}", log=folder / f"worker.{worker}.log",
            )) for worker in range(count)
        ]
        interrupted = False
        plan = schedule() if callable(schedule) else schedule
        _check_files(streams or len(plan), count)
        try:
            job = _hand_over(folder, target, plan, path, streams or 0, limits, count, kernel_stamps, key_variable)
        except OSError as error:
            raise _no_room(folder, error) from error
        try:
            _wait_ready(board, processes)
            board.start_ns = time.monotonic_ns() + HEAD_START_NS
            _watch(board, processes, len(plan), watch)
        except KeyboardInterrupt:
            if not keep_on_interrupt:
                raise
            interrupted = True
            board.stop = True
            _leave(board, processes)
        start_ns = board.start_ns
        found = [read_flights(folder, worker, plan, start_ns) for worker in range(count)
                 if (folder / f"facts.{worker}.json").exists()]
    exchanges = sorted((exchange for share, _ in found for exchange in share), key=lambda exchange: exchange.sent_ns)
    return Traffic(exchanges, _facts([facts for _, facts in found], job, start_ns) | {"interrupted": interrupted})


def _workers(streams: int | None, rate: float | None, wanted: int | None) -> int:
    """One process does, up to some thousand streams; then one per core."""
    if wanted is not None:
        if streams is not None and wanted > streams:
            raise SpecError(f"{wanted} workers for {streams} streams: give at most as many workers as streams")
        return wanted
    need = streams / STREAMS_PER_WORKER if streams is not None else (rate or 0.0) / RATE_PER_WORKER
    return max(1, min(int(np.ceil(need)), len(os.sched_getaffinity(0))))


def _folder(scratch: Path | None) -> Path:
    try:
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="quantcheck-load-", dir=scratch))
    except OSError as error:
        raise _no_room(scratch or Path(tempfile.gettempdir()), error) from error


def _no_room(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"{folder}: cannot be written ({error.strerror or error}); free disk space, or use another "
                      "folder (--out; of quantcheck load: TMPDIR)")


def _raise_file_limit() -> None:
    """Raises this process's soft limit of open files as far as it goes; workers inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard and hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _check_files(connections: int, workers: int) -> None:
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = connections // workers + SPARE_FILES
    if limit != resource.RLIM_INFINITY and need > limit:
        raise SpecError(f"{connections} connections at once need {need} open files, the limit is {limit}; "
                        "raise it (ulimit -n) or load less")


def _hand_over(
    folder: Path, target: Target, schedule: Schedule, path: str, streams: int, limits: Limits, workers: int,
    kernel_stamps: bool, key_variable: str | None,
) -> Job:
    lengths = np.array([len(body) for body in schedule.bodies], np.int64)
    due = np.full(len(schedule), -1, np.int64) if schedule.due_ns is None else schedule.due_ns
    with (folder / "bodies.bin").open("wb") as file:
        file.writelines(schedule.bodies)
    np.column_stack([np.cumsum(lengths) - lengths, lengths, due, schedule.stream, schedule.phase]).astype(
        np.int64).tofile(folder / "requests.i64")
    last_due_s = 0.0 if schedule.due_ns is None else float(schedule.due_ns[-1]) / 1e9
    turns = -(-len(schedule) // streams) if streams else 1
    job = Job(
        host=target.address, port=target.port, path=target.path + path, headers={"Host": target.host},
        streams=streams, workers=workers,
        request_timeout_s=limits.request_timeout_s,
        first_byte_timeout_s=limits.first_byte_timeout_s,
        run_timeout_s=limits.run_timeout_s or last_due_s + (turns + 1) * limits.request_timeout_s,
        duration_s=limits.duration_s,
        kernel_stamps=kernel_stamps and target.plain and sys.platform == "linux",
        secure=target.secure, proxy=target.proxy, key_variable=key_variable,
    )
    job.write(folder)
    return job


def _wait_ready(board: Board, processes: Sequence[ManagedProcess]) -> None:
    give_up = time.monotonic() + START_S
    while board.total("ready") < len(processes):
        for process in processes:
            process.check()
        if time.monotonic() > give_up:
            raise EngineError(f"a load worker was not ready within {START_S:g} s; the machine is overloaded: try again")
        time.sleep(0.001)


def _watch(board: Board, processes: Sequence[ManagedProcess], requests: int,
           watch: Callable[[Pulse], None] | None) -> None:
    began = time.monotonic()
    while board.total("finished") < len(processes):
        for worker, process in enumerate(processes):
            if not process.running() and not board.get(worker, "finished"):
                if process.exit_text() == f"exit status {EXIT_NO_ROOM}":
                    raise _no_room(process.log.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
                process.check()
        if watch is not None:
            watch(Pulse(time.monotonic() - began, requests, *map(board.total, ("sent", "done", "failed", "busy"))))
        time.sleep(WATCH_S)


def _leave(board: Board, processes: Sequence[ManagedProcess]) -> None:
    """Lets the workers write what they have; one that does not is ended by its context."""
    give_up = time.monotonic() + LEAVE_S
    while board.total("finished") < len(processes) and time.monotonic() < give_up:
        time.sleep(0.005)


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
