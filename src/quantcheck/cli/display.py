"""Progress on the terminal: a live bar, one line per cell when output is not a terminal, or nothing."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from quantcheck.cli.interrupt import raise_if_interrupted
from quantcheck.runner.pace import Pace
from quantcheck.runner.plan import Task
from quantcheck.runner.progress import Progress, Silent

__all__ = ["display"]

FEWEST = 3
"""Cells that must be measured before the time left is worth saying."""


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
        TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("{task.fields[left]}"), console=console, transient=True,
    ) as bar:
        yield _Live(bar, bar.add_task("starting", total=None, left=""))


class _Quiet(Silent):
    def pulse(self) -> None:
        raise_if_interrupted()


class _Clock:
    """What is left of a run, and how long that will take."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self._left: dict[tuple[str, str, int], Task] = {}
        self._pace = Pace()
        self._learned = 0

    def begin(self, tasks: Sequence[Task], stored: int) -> None:
        self._left = {(task.entry, task.subject, task.block): task for task in tasks}
        self.total, self.done = len(tasks) + stored, stored

    def finish(self, variant: str, subject: str, block: int, seconds: float) -> Task:
        task = self._left.pop((variant, subject, block))
        self._pace.learn(task, seconds)
        self._learned += 1
        self.done += 1
        return task

    def started(self, variant: str, seconds: float) -> None:
        self._pace.learn_start(variant, seconds)

    def left(self) -> str:
        seconds = self._pace.seconds(self._left.values())
        return "" if seconds is None or self._learned < FEWEST else f"about {_duration(seconds)} left"


class _Lines(_Quiet):
    def __init__(self, console: Console) -> None:
        self._console = console
        self._clock = _Clock()

    def begin(self, tasks: Sequence[Task], stored: int) -> None:
        self._clock.begin(tasks, stored)
        self._print(f"{self._clock.total} cells" + (f", {stored} of them stored already" if stored else ""))

    def preparing(self, what: str) -> None:
        self._print(what)

    def started(self, variant: str, seconds: float) -> None:
        self._clock.started(variant, seconds)

    def finished(self, variant: str, subject: str, block: int, seconds: float) -> None:
        task = self._clock.finish(variant, subject, block, seconds)
        where = f"  block {block + 1}" if task.kind == "load" else ""
        left = self._clock.left()
        self._print(f"[{self._clock.done}/{self._clock.total}] {variant}  {subject}{where}  {seconds:.1f} s"
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

    def begin(self, tasks: Sequence[Task], stored: int) -> None:
        self._clock.begin(tasks, stored)
        self._bar.update(self._task, total=self._clock.total, completed=stored, description="measuring")

    def preparing(self, what: str) -> None:
        self._bar.update(self._task, description=what)

    def started(self, variant: str, seconds: float) -> None:
        self._clock.started(variant, seconds)

    def step(self, variant: str, subject: str, done: int, of: int, block: int = 0) -> None:
        self._bar.update(self._task, description=f"{variant}  {subject}  block {block + 1}",
                         completed=self._clock.done + (done / of if of else 0))

    def finished(self, variant: str, subject: str, block: int, seconds: float) -> None:
        self._clock.finish(variant, subject, block, seconds)
        self._bar.update(self._task, completed=self._clock.done, left=self._clock.left())

    def note(self, text: str) -> None:
        self._bar.console.print(f"note: {text}", style="yellow", markup=False)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
