"""What a run tells while it goes on; the command line shows it as a bar, as lines, or not at all."""

from collections.abc import Sequence
from typing import Protocol

from quantcheck.runner.plan import Task

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Called by the runner, from one thread."""

    def begin(self, tasks: Sequence[Task], stored: int) -> None:
        """`tasks` are to be measured; `stored` more were measured by an earlier run."""
        ...

    def preparing(self, what: str) -> None:
        """An artifact is being made."""
        ...

    def started(self, variant: str, seconds: float) -> None:
        """An engine took `seconds` until it answered."""
        ...

    def step(self, variant: str, subject: str, done: int, of: int, block: int = 0) -> None:
        """Inside a cell."""
        ...

    def finished(self, variant: str, subject: str, block: int, seconds: float) -> None:
        """A cell is stored; `block` counts from 0."""
        ...

    def note(self, text: str) -> None:
        """Something the user should know."""
        ...

    def pulse(self) -> None:
        """Called many times a second while a cell is measured; what it raises ends the run."""
        ...


class Silent:
    """Shows nothing."""

    def begin(self, tasks: Sequence[Task], stored: int) -> None: ...

    def preparing(self, what: str) -> None: ...

    def started(self, variant: str, seconds: float) -> None: ...

    def step(self, variant: str, subject: str, done: int, of: int, block: int = 0) -> None: ...

    def finished(self, variant: str, subject: str, block: int, seconds: float) -> None: ...

    def note(self, text: str) -> None: ...

    def pulse(self) -> None: ...
