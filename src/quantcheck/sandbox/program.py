"""What is run in the sandbox, within which bounds, and how it ended."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Ending", "Limits", "Outcome", "Program"]

Ending = Literal["passed", "failed", "timeout", "memory", "output"]
"""`passed`: ran to its last line and exited with 0. `failed`: an exception, a crash, or an exit before its last line.
The others name the bound that it ran into."""


@dataclass(frozen=True, slots=True)
class Program:
    """Python source text and what it reads from standard input.

    `name` is its `__name__`. HumanEval's and MBPP's own harness runs code under another name than `__main__`, so that
    what a model wrote under `if __name__ == "__main__":` is not run there.
    """

    source: str
    stdin: str = ""
    name: str = "__main__"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one program with all its threads and processes, unless they say `each`.

    The bound that should end an endless loop is processor time: it does not depend on what else the machine does, so
    the same code ends the same way for each variant. Wall time is there for what sleeps. MBPP's slowest own
    solution took 5.04 s on one machine.
    """

    cpu_s: int = 15
    """Processor time of each process."""
    wall_s: float = 45.0
    memory_mib: int = 1024
    """Address space of each process; resident memory of all (pages that two share count twice) and the kernel's for
    the files in /tmp."""
    tmp_mib: int = 64
    """The size of /tmp, the one place that can be written."""
    file_mib: int = 16
    """The size of each file."""
    processes: int = 32
    """Processes and threads at one time, the first included."""
    output_kib: int = 256
    """Standard output and standard error together."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    `exit_code` as a shell gives it (128 + signal); None when it was ended from outside. `detail`: one line that says
    why, empty when it passed. `stderr`: its end.
    """

    ending: Ending
    seconds: float
    exit_code: int | None
    detail: str
    stdout: str
    stderr: str
