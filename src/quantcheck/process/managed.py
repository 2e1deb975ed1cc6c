"""Owning a child process: it starts in a session of its own, and nothing of it is left when we are done.

Three things end it: `stop()` (also through the context manager, so on any exception and on Ctrl-C), the end
of this Python process by any means including SIGKILL (the kernel's parent-death signal, see `guard.py`), and
the end of the interpreter. The child's own children are found by their session id.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from quantcheck.errors import EngineError, StoreError

__all__ = ["ManagedProcess", "guarded"]

GRACE_S = 3.0
KILL_S = 20.0
POLL_S = 0.01
TAIL_LINES = 3
TAIL_CHARACTERS = 400
NO_ROOM_BYTES = 16_384
GUARD = Path(__file__).with_name("guard.py")

# The parent-death signal follows the *thread* that forked, not the process. All children are therefore forked
# by one thread that lives as long as the interpreter; a caller's own thread may end at any time.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="quantcheck-spawner")


def guarded(command: Sequence[str], *, tree: bool = False) -> list[str]:
    """The command as one for `subprocess.run` that does not outlive the calling thread, even when that is killed.

    `tree`: nor does what it starts (see `guard.py`); it must then be started in a session of its own.
    """
    return [sys.executable, "-I", "-S", str(GUARD), *(["--tree"] if tree else []), str(os.getpid()), *command]


class ManagedProcess:
    """One command, run in its own session with output to a log file.

    `name` is how messages call it. `grace_s`: how long it may take to end by itself. `tree`: it starts processes of its
    own, which must not outlive us either (see `guard.py`). Nothing is started before `start()`; `stop()` is idempotent.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        grace_s: float = GRACE_S,
        tree: bool = False,
    ) -> None:
        self.grace_s = grace_s
        self.tree = tree
        self.command = list(command)
        self.name = name
        self.log = log
        self.environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._ended = False
        self._known: set[psutil.Process] = set()

    def start(self) -> None:
        """Starts the command; raises `EngineError` when the log cannot be written or it was started before."""
        if self._child is not None:
            raise EngineError(f"{self.name}: was already started; make a new one for the next block")
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            sink = self.log.open("wb")
        except OSError as error:
            raise EngineError(f"{self.name}: cannot write its log {self.log}: {error.strerror}") from error
        with sink:
            self._started = time.monotonic()
            self._child = _spawner.submit(self._spawn, sink).result()

    def _spawn(self, sink: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            guarded(self.command, tree=self.tree),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.environment},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id, which is also its session's and its group's; `EngineError` before `start()`."""
        if self._child is None:
            raise EngineError(f"{self.name}: was not started")
        return self._child.pid

    @property
    def age_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def running(self) -> bool:
        """Whether the command itself is still there. Leaves it unreaped, so that its id stays ours."""
        if self._child is None or self._ended:
            return False
        return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def exit_text(self) -> str:
        """How it ended, in words; it must have ended."""
        if self._child is not None and not self._ended:
            result = os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if result is None:
                return "still running"
            code = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        else:
            code = self._child.returncode if self._child is not None else 0
        if code >= 0:
            return f"exit status {code}"
        return f"killed by {signal.Signals(-code).name}"

    def log_text(self) -> str:
        """Everything logged so far."""
        try:
            return self.log.read_text("utf-8", "replace")
        except OSError:
            return ""

    def log_tail(self) -> str:
        """The last lines of the log on one line, for an error message."""
        lines = [line.strip() for line in self.log_text().splitlines() if line.strip()]
        text = " | ".join(lines[-TAIL_LINES:]) or "(its log is empty)"
        return text if len(text) <= TAIL_CHARACTERS else "... " + text[-TAIL_CHARACTERS:]

    def check(self) -> None:
        """Raises `EngineError` when the command has ended, or was stopped or never started; `StoreError` when its log's
        disk is full, which is why it ended."""
        if not self.running():
            state = self.exit_text() if self._child is not None else "never started"
            if self._no_room():
                raise StoreError(f"{self.name} is gone ({state}): the disk of {self.log.parent} is full; free disk "
                                 "space or give another --out, then run again: finished cells are kept")
            raise EngineError(f"{self.name} is gone ({state}); its last log lines: {self.log_tail()}; "
                              f"full log: {self.log}")

    def _no_room(self) -> bool:
        try:
            disk = os.statvfs(self.log.parent)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize < NO_ROOM_BYTES

    def wait_until(self, healthy: Callable[[], bool], timeout_s: float) -> float:
        """Polls `healthy` until it is true; seconds since the start.

        Raises `EngineError` when the process ends first or `timeout_s` (since the start) is over.
        """
        while not healthy():
            self.check()
            if self.age_s > timeout_s:
                raise EngineError(
                    f"{self.name} was not healthy within {timeout_s:g} s of its start; its last log lines: "
                    f"{self.log_tail()}; full log: {self.log}; raise `start_timeout_s` if it only needs longer"
                )
            time.sleep(POLL_S)
        return self.age_s

    def members(self) -> list[psutil.Process]:
        """The command and what it started, as far as it lives: its session and its descendants, also such as were
        seen to be descendants before. Zombies do not count."""
        if self._child is None or self._ended:
            return []
        for pid in psutil.pids():
            with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
                if os.getsid(pid) == self.pid:
                    self._known.add(psutil.Process(pid))
        for process in list(self._known):
            with suppress(psutil.NoSuchProcess):
                self._known.update(process.children(recursive=True))
        self._known = {process for process in self._known if _alive(process)}
        return list(self._known)

    def stop(self) -> None:
        """SIGTERM, a short grace, SIGKILL; returns when no process of the session is left.

        Raises `EngineError` when something outlives SIGKILL (a process stuck in the kernel).
        """
        if self._child is None or self._ended:
            return
        grace_end, give_up = time.monotonic() + self.grace_s, time.monotonic() + self.grace_s + KILL_S
        self._signal(signal.SIGTERM)
        while members := self.members():
            now = time.monotonic()
            if now > give_up:
                pids = ", ".join(str(p.pid) for p in members)
                raise EngineError(f"{self.name}: processes {pids} survive SIGKILL; end them before going on")
            if now > grace_end:
                self._signal(signal.SIGKILL)
            time.sleep(POLL_S)
        self._child.wait()  # only now is its id given back, so no signal above can meet a stranger
        self._ended = True

    def _signal(self, number: signal.Signals) -> None:
        for process in self.members():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)  # makes sure that the id was not given to another process

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
