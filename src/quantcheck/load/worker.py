"""A load worker: `python -m quantcheck.load.worker FOLDER K WORKERS`. Waits for its job and the start, sends, writes.

A process of its own, so that neither the caller's progress bar nor its watch over the engine takes the interpreter from
the clock. SIGTERM ends the load at once; what was received is written.
"""

import ctypes
import errno
import gc
import mmap
import os
import signal
import sys
import time
from array import array
from collections import deque
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from quantcheck.load.handover import MEASURED, REQUEST_COLUMNS, WARMUP, Board, Job, Request
from quantcheck.load.wire import Wire

if TYPE_CHECKING:
    from quantcheck.load.sender import Sender

__all__ = ["EXIT_NO_ROOM", "main"]

EXIT_NO_ROOM = 28
"""What was received could not be written: the disk is full."""
PR_SET_TIMERSLACK = 29
LATE_IN_STARTING_S = 90.0


def _head(job: Job) -> bytes:
    """The request's head, without the two lines that differ from request to request."""
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream",
               "User-Agent": "quantcheck", **job.headers}
    if job.key_variable:
        headers["Authorization"] = f"Bearer {os.environ[job.key_variable]}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {job.path} HTTP/1.1\r\n{lines}".encode()


def _requests(job: Job, folder: Path, worker: int) -> tuple[list[deque[Request]], deque[Request], deque[Request]]:
    """This worker's share of the schedule: warm-up by stream, the window's, and the tail's."""
    rows: array[int] = array("q")
    content = (folder / "requests.i64").read_bytes()
    rows.frombytes(content)
    with (folder / "bodies.bin").open("rb") as file:
        bodies = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    width, common = len(REQUEST_COLUMNS), _head(job)
    warmup: list[deque[Request]] = [deque() for _ in range(worker, job.streams, job.workers)]
    measured: deque[Request] = deque()
    tail: deque[Request] = deque()
    for row in range(0, len(rows), width):
        index, offset, length, due_ns, stream, phase = rows[row : row + width]
        own_warmup = bool(job.streams) and phase == WARMUP
        if (stream if own_warmup else index) % job.workers != worker:
            continue
        head = common + b"X-Request-Id: %d\r\nContent-Length: %d\r\n\r\n" % (index, length)
        request = Request(index, stream, phase, due_ns, (head, bodies[offset : offset + length]))
        if own_warmup:
            warmup[stream // job.workers].append(request)
        else:
            (measured if phase <= MEASURED else tail).append(request)
    return warmup, measured, tail


def _wire(job: Job) -> type["Sender"]:
    """Our own loop, or a library's where ours cannot go; that takes a while to import."""
    if not (job.secure or job.proxy):
        return Wire
    from quantcheck.load.library_wire import LibraryWire

    return LibraryWire


def main(argv: list[str]) -> int:
    """Runs one worker's share; exit status 0 also when the run was ended early."""
    folder, worker = Path(argv[1]), int(argv[2])
    board = Board(folder, int(argv[3]))

    def stop(_number: int, _frame: FrameType | None) -> None:
        board.stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)
    while not (folder / "job.json").exists():  # the parent's death ends us, too
        if board.stop:
            return 0
        time.sleep(0.0005)
    job = Job.read(folder)
    warmup, measured, tail = _requests(job, folder, worker)
    wire = _wire(job)(job, worker, board, warmup, measured, tail)
    board.put(worker, "left", sum(request.phase == MEASURED for request in measured))
    gc.collect()
    gc.freeze()
    gc.disable()
    board.put(worker, "ready", 1)
    give_up = time.monotonic() + LATE_IN_STARTING_S
    while not board.start_ns and not board.stop and time.monotonic() < give_up:
        time.sleep(0.0005)
    used = time.process_time()
    began = time.monotonic()
    if board.start_ns and not board.stop:
        wire.run()
    counts = wire.counts
    facts = {
        "cpu_s": time.process_time() - used,
        "wall_s": time.monotonic() - began,
        "connections": counts.connections,
        "resent": len(counts.resent),
        "lags": counts.lags,
        "closed_idle": counts.closed_idle,
        "ended_early": counts.ended_early,
        "clocks": counts.clocks,
        "details": counts.details,
        "transport": wire.transport,
    }
    try:
        wire.harvest.write(folder, worker, facts)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return EXIT_NO_ROOM
    board.put(worker, "finished", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
