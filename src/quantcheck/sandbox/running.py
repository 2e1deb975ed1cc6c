"""One program in a sandbox of its own, from the start of bubblewrap to the end of its last process.

    this process --> guard.py --> bwrap --> first process of the namespace --> python inside.py --> the program

`inside.py` says `ready` and waits for a word of ours: until then the first process surely lives, so that we can take
hold of it by a descriptor, through which no other process can be met. Killing it kills all that is in its namespace,
and it ends last: once it is gone, nothing is left. If we die, the kernel tells `guard.py`, which ends the others: with
bubblewrap's own `--die-with-parent` alone, a first process that waits for its word to begin would wait for ever.
"""

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal

import psutil

from quantcheck.errors import MeasurementError
from quantcheck.process.managed import guarded
from quantcheck.sandbox.command import bubblewrap_arguments, python_arguments
from quantcheck.sandbox.program import Ending, Limits, Outcome, Program
from quantcheck.sandbox.syscalls import seccomp_filter

__all__ = ["Running"]

START_S = 30.0
"""Bubblewrap and the interpreter start within tens of milliseconds; this is for a machine that swaps."""
READ = 1 << 16
STDERR_CHARACTERS = 2000
DETAIL_CHARACTERS = 200
PAGE = os.sysconf("SC_PAGE_SIZE")
FILE = 1200
"""Bytes of the kernel's memory that an empty file in /tmp takes, as measured on Linux 6.18."""
INSIDE = Path(__file__).with_name("inside.py")

Stream = Literal["stdout", "stderr", "status", "json"]


class Running:
    """A program that was started; raises `MeasurementError` when bubblewrap cannot be executed.

    Its owner waits on `selector`, calls each ready key's `data`, and `check()` in between, until it is `finished`.
    """

    def __init__(self, program: Program, limits: Limits, bwrap: str, selector: selectors.BaseSelector) -> None:
        self.limits = limits
        self._selector = selector
        self._open: set[int] = set()  # what still has to end before all has ended
        self._text: dict[Stream, bytearray] = {
            "stdout": bytearray(), "stderr": bytearray(), "status": bytearray(), "json": bytearray()}
        self._stopped: Ending | None = None  # the bound for which we ended it
        self._detail = ""
        self._given_up = False
        self._first = 0  # process id of the namespace's first process
        self._held: int | None = None  # and the descriptor by which we hold it
        self._started: float | None = None
        self._ended: float | None = None
        with ExitStack() as theirs:  # our copies of the child's ends
            code, inside, calls, stdin = (_memory_file(theirs, content) for content in (
                _bytes(program.source), INSIDE.read_bytes(), seccomp_filter(), _bytes(program.stdin)))
            out, err, status, told = (self._pipe(theirs, stream) for stream in self._text)
            go, self._go = os.pipe()
            theirs.callback(os.close, go)
            sandbox = bubblewrap_arguments(limits, program=code, inside=inside, calls=calls, status=told)
            command = [bwrap, *sandbox, "--", *python_arguments(limits, program.name, status=status, go=go)]
            try:
                self._guard = subprocess.Popen(
                    guarded(command, tree=True), stdin=stdin, stdout=out, stderr=err, env={}, cwd="/",
                    pass_fds=(code, inside, calls, status, told, go), start_new_session=True)
            except OSError as error:
                self._let_go()
                for descriptor in list(self._open):
                    self._close(descriptor)
                raise MeasurementError(f"the sandbox did not start: {error.strerror}") from error
        self._deadline = time.monotonic() + START_S
        ended = os.pidfd_open(self._guard.pid)
        self._register(ended, lambda: self._guard_ended(ended))

    @property
    def finished(self) -> bool:
        """Nothing of it is left: no process, no open pipe."""
        return not self._open

    def check(self) -> None:
        """Ends it when it is over a bound that the kernel does not hold: wall time, memory of all its processes."""
        if self._ended or self._stopped or self._given_up:
            return
        late = time.monotonic() > self._deadline
        if self._started is None:
            if late:
                self.give_up()
        elif late:
            self._stop("timeout", f"still running after {self.limits.wall_s:g} s")
        elif _resident_bytes(self._first) + _file_bytes(self._first) > self.limits.memory_mib << 20:
            self._stop("memory", f"used more than {self.limits.memory_mib} MiB of memory")

    def give_up(self) -> None:
        """Ends it for another reason than its bounds; it still has to be waited for until it is `finished`."""
        self._given_up = True
        self._let_go()
        self._kill()
        if self._held is None:  # not `guard.py` itself: it sees to the rest
            for process in _descendants(self._guard.pid):
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def outcome(self) -> Outcome:
        """How it ended; it must be `finished`.

        Raises `MeasurementError` when the sandbox did not come as far as the program's first line.
        """
        stderr = self._text["stderr"].decode("utf-8", "replace")
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        last = lines[-1][:DETAIL_CHARACTERS] if lines else ""
        if self._started is None or self._ended is None:
            raise MeasurementError(f"the sandbox did not start: {last or f'nothing was heard in {START_S:g} s'}")
        ending, detail = self._judge(last)
        return Outcome(ending, self._ended - self._started, None if self._stopped else self._guard.returncode, detail,
                       self._text["stdout"].decode("utf-8", "replace"), stderr[-STDERR_CHARACTERS:])

    def _judge(self, last: str) -> tuple[Ending, str]:
        if self._stopped:
            return self._stopped, self._detail
        code, said = self._guard.returncode, self._text["status"].split()
        if code == 128 + signal.SIGXCPU:
            return "timeout", f"used {self.limits.cpu_s} s of processor time"
        if b"memory" in said:
            return "memory", f"wanted more than {self.limits.memory_mib} MiB of memory"
        if code == 0:
            return ("passed", "") if b"end" in said else ("failed", "ended itself before its last line")
        with suppress(ValueError):
            return "failed", f"killed by {signal.Signals(code - 128).name}"
        return "failed", last or f"exit code {code}"

    def _pipe(self, theirs: ExitStack, stream: Stream) -> int:
        """The child's end of a pipe whose other end is read into `_text`."""
        ours, end = os.pipe()
        theirs.callback(os.close, end)
        self._register(ours, lambda: self._read(ours, stream))
        return end

    def _read(self, descriptor: int, stream: Stream) -> None:
        data = os.read(descriptor, READ)
        text = self._text
        if not data:
            self._close(descriptor)
        elif stream in ("stdout", "stderr"):
            room = (self.limits.output_kib << 10) - len(text["stdout"]) - len(text["stderr"])
            text[stream] += data[:room]
            if len(data) > room:
                self._stop("output", f"wrote more than {self.limits.output_kib} KiB")
        else:
            text[stream] += data[: READ - len(text[stream])]
            self._begin()

    def _begin(self) -> None:
        """When both bubblewrap and `inside.py` have spoken: take hold of the first process, and let the program run."""
        told, end, _ = self._text["json"].partition(b"\n")
        if self._started is not None or self._given_up or not end or not self._text["status"].startswith(b"ready\n"):
            return
        self._first = json.loads(told)["child-pid"]
        held = self._held = os.pidfd_open(self._first)
        self._register(held, lambda: self._first_ended(held))
        self._started = time.monotonic()
        self._deadline = self._started + self.limits.wall_s
        with suppress(BrokenPipeError):  # somebody killed it
            os.write(self._go, b"g")
        self._let_go()

    def _guard_ended(self, descriptor: int) -> None:
        """The program ended, and bubblewrap with it; what the program left in the background ends now."""
        self._ended = time.monotonic()
        self._guard.wait()
        self._close(descriptor)
        self._let_go()
        self._kill()

    def _first_ended(self, descriptor: int) -> None:
        self._held = None
        self._close(descriptor)

    def _stop(self, ending: Ending, detail: str) -> None:
        if self._stopped is None:
            self._stopped, self._detail = ending, detail
            self._kill()

    def _kill(self) -> None:
        if self._held is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._held, signal.SIGKILL)

    def _let_go(self) -> None:
        if self._go >= 0:
            os.close(self._go)
            self._go = -1

    def _register(self, descriptor: int, call: Callable[[], None]) -> None:
        self._open.add(descriptor)
        self._selector.register(descriptor, selectors.EVENT_READ, call)

    def _close(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        self._open.discard(descriptor)
        os.close(descriptor)


def _memory_file(stack: ExitStack, content: bytes) -> int:
    """A descriptor, at its beginning, of a file in memory."""
    descriptor = os.memfd_create("quantcheck")
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _bytes(text: str) -> bytes:
    """UTF-8. Half surrogates, which a model can write, stay in: Python refuses such a program, as it should."""
    return text.encode("utf-8", "surrogatepass")


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _resident_bytes(first: int) -> int:
    """Resident memory of a process and all its descendants; in a process namespace of its own nothing gets away."""
    total, left = 0, [first]
    while left:
        folder = Path(f"/proc/{left.pop()}")
        with suppress(OSError):  # it ended in the meantime
            total += int((folder / "statm").read_bytes().split()[1]) * PAGE
            for thread in (folder / "task").iterdir():
                with suppress(OSError):
                    left += map(int, (thread / "children").read_bytes().split())
    return total


def _file_bytes(first: int) -> int:
    """What the files in /tmp take beside their content, which a bound of its own holds."""
    try:
        inside = os.statvfs(f"/proc/{first}/root/tmp")
    except OSError:  # it ended in the meantime
        return 0
    return (inside.f_files - inside.f_ffree) * FILE
