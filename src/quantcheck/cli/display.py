"""Progress on the terminal: a live bar, one line per cell when output is not a terminal, or nothing."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from quantcheck.cli.interrupt import raise_if_interrupted
from quantcheck.runner.progress import Progress, Silent

__all__ = ["display"]


@contextmanager
def display(*, quiet: bool) -> Iterator[Progress]:
    """What shows a run's progress, on standard error."""
    if quiet:
        yield _Quiet()
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Bar(
        TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(), TextColumn("{task.fields[left]}"), console=console, transient=True,
    ) as bar:
        yield _Live(bar, bar.add_task("starting", total=None, left=""))


class _Clock:
    """Time left, from the time that cells like the remaining ones took in this run."""

    def __init__(self) -> None:
        self.cells = self.done = self.stored = 0
        self._started = time.monotonic()

    def begin(self, cells: int, done: int) -> None:
        self.cells, self.done, self.stored = cells, done, done
        self._started = time.monotonic()

    def left(self) -> str:
        measured = self.done - self.stored
        if measured < 3:
            return ""
        seconds = (time.monotonic() - self._started) / measured * (self.cells - self.done)
        return f"about {_duration(seconds)} left"


class _Quiet(Silent):
    def pulse(self) -> None:
        raise_if_interrupted()


class _Lines(_Quiet):
    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = _Clock()

    def begin(self, cells: int, done: int) -> None:
        self._clock.begin(cells, done)
        stored = f", {done} of them stored already" if done else ""
        self._print(f"{cells} cells{stored}")

    def preparing(self, what: str) -> None:
        self._print(what)

    def finished(self, variant: str, subject: str, block: int | None, seconds: float) -> None:
        self._clock.done += 1
        where = "" if block is None else f"  block {block + 1}"
        left = self._clock.left()
        self._print(f"[{self._clock.done}/{self._clock.cells}] {variant}  {subject}{where}  {seconds:.1f} s"
                    + (f"  ({left})" if left else ""))

    def note(self, text: str) -> None:
        self._print(f"note: {text}")

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class _Live(_Quiet):
    def __init__(self, bar: Bar, task: TaskID) -> None:
        self._bar = bar
        self._task = task
        self._clock = _Clock()

    def begin(self, cells: int, done: int) -> None:
        self._clock.begin(cells, done)
        self._bar.update(self._task, total=cells, completed=done, description="measuring")

    def preparing(self, what: str) -> None:
        self._bar.update(self._task, description=what)

    def step(self, variant: str, subject: str, done: int, of: int, block: int | None = None) -> None:
        where = "" if block is None else f" block {block + 1}"
        self._bar.update(self._task, description=f"{variant}  {subject}{where}",
                         completed=self._clock.done + (done / of if of else 0))

    def finished(self, variant: str, subject: str, block: int | None, seconds: float) -> None:
        self._clock.done += 1
        self._bar.update(self._task, completed=self._clock.done, left=self._clock.left())

    def note(self, text: str) -> None:
        self._bar.console.print(f"note: {text}", style="yellow", markup=False)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
