"""The worker processes of one load on this machine, and the folder through which a load goes to them and comes back."""

import errno
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from quantcheck.errors import EngineError, SpecError, StoreError
from quantcheck.load.handover import Board
from quantcheck.load.parcel import Parcel
from quantcheck.load.worker import EXIT_NO_ROOM
from quantcheck.process.managed import ManagedProcess

__all__ = ["LEAVE_S", "Crew"]

START_S = 60.0
LEAVE_S = 1.5
"""How long a worker that is told to stop may take to write what it has."""
SPARE_FILES = 64


class Crew:
    """Workers `numbers` of `total`: all of them, or one host's. A context, which ends them and removes the folder.

    What goes on elsewhere is seen by them only in `elsewhere`. Raises `StoreError` when the folder cannot be written.
    """

    def __init__(self, numbers: Sequence[int], total: int, scratch: Path | None = None) -> None:
        self.numbers, self._total, self._scratch = list(numbers), total, scratch
        # A worker of another host: its row of the board stands for all of those.
        self._stranger = next((number for number in range(total) if number not in self.numbers), None)

    def __enter__(self) -> Self:
        raise_file_limit()
        with ExitStack() as stack:
            self.folder = _folder(self._scratch)
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            try:
                self.board = Board(self.folder, self._total)
            except OSError as error:
                raise no_room(self.folder, error) from error
            stack.callback(self.board.close)
            self.elsewhere(1)
            self._processes = [
                stack.enter_context(ManagedProcess(
                    [sys.executable, "-u", "-m", "quantcheck.load.worker", str(self.folder), str(number),
                     str(self._total)],
                    name=f"load worker {number + 1}", log=self.folder / f"worker.{number}.log",
                )) for number in self.numbers
            ]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def give(self, parcel: Parcel) -> None:
        """Raises `SpecError` for more connections than the system allows."""
        streams = parcel.job.streams
        _check_files(streams or len(parcel.requests), self._total if streams else len(self.numbers))
        try:
            parcel.write(self.folder)
        except OSError as error:
            raise no_room(self.folder, error) from error

    def wait_ready(self) -> None:
        """Raises `EngineError` when a worker dies, or is not ready in a minute."""
        give_up = time.monotonic() + START_S
        while self.board.total("ready") < len(self._processes):
            for process in self._processes:
                process.check()
            if time.monotonic() > give_up:
                raise EngineError(f"a load worker was not ready within {START_S:g} s; the machine is overloaded: try "
                                  "again")
            time.sleep(0.001)

    def elsewhere(self, left: int) -> None:
        """How many measured requests other hosts have left: while any are, the load is kept up here, too."""
        if self._stranger is not None:
            self.board.put(self._stranger, "left", left)

    def left(self) -> int:
        """How many measured requests of these workers are not over."""
        return sum(self.board.get(number, "left") for number in self.numbers)

    def finished(self) -> bool:
        """Whether all have written what they received. Raises `EngineError` when a worker died, `StoreError` when the
        disk was full."""
        if self.board.total("finished") == len(self._processes):
            return True
        for number, process in zip(self.numbers, self._processes, strict=True):
            if not process.running() and not self.board.get(number, "finished"):
                if process.exit_text() == f"exit status {EXIT_NO_ROOM}":
                    raise no_room(process.log.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
                process.check()
        return False

    def leave(self) -> None:
        """Ends the load and lets the workers write what they have; one that does not is ended by the context."""
        self.board.stop = True
        give_up = time.monotonic() + LEAVE_S
        while self.board.total("finished") < len(self._processes) and time.monotonic() < give_up:
            time.sleep(0.005)

    def wrote(self) -> list[int]:
        """The workers that have left their files."""
        return [number for number in self.numbers if (self.folder / f"facts.{number}.json").exists()]


def _folder(scratch: Path | None) -> Path:
    try:
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="quantcheck-load-", dir=scratch))
    except OSError as error:
        raise no_room(scratch or Path(tempfile.gettempdir()), error) from error


def no_room(folder: Path, error: OSError) -> StoreError:
    """What is said when `folder` cannot be written."""
    return StoreError(f"{folder}: cannot be written ({error.strerror or error}); free disk space, or use another "
                      "folder (--out; of quantcheck load: TMPDIR)")


def raise_file_limit() -> None:
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
