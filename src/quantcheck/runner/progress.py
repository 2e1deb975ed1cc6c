"""What a run tells while it goes on; the command line shows it as a bar, as lines, or not at all."""

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Called by the runner, from one thread."""

    def begin(self, cells: int, done: int) -> None:
        """`cells` in all, of which `done` were stored by an earlier run."""
        ...

    def preparing(self, what: str) -> None:
        """An artifact is being made."""
        ...

    def step(self, variant: str, subject: str, done: int, of: int, block: int | None = None) -> None:
        """Inside a cell."""
        ...

    def finished(self, variant: str, subject: str, block: int | None, seconds: float) -> None:
        """A cell is stored."""
        ...

    def note(self, text: str) -> None:
        """Something the user should know."""
        ...

    def pulse(self) -> None:
        """Called many times a second while a cell is measured; what it raises ends the run."""
        ...


class Silent:
    """Shows nothing."""

    def begin(self, cells: int, done: int) -> None: ...

    def preparing(self, what: str) -> None: ...

    def step(self, variant: str, subject: str, done: int, of: int, block: int | None = None) -> None: ...

    def finished(self, variant: str, subject: str, block: int | None, seconds: float) -> None: ...

    def note(self, text: str) -> None: ...

    def pulse(self) -> None: ...
