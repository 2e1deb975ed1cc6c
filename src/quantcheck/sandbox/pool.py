"""Many programs in sandboxes, some at a time; nothing of them is left when the call is over, whatever ends it."""

import os
import selectors
import shutil
import time
from collections.abc import Callable, Iterable

from quantcheck.errors import MeasurementError
from quantcheck.sandbox.program import Limits, Outcome, Program
from quantcheck.sandbox.running import Running

__all__ = ["INSTALL", "run", "run_all"]

TICK_S = 0.02
"""How often memory and wall time are looked at. Memory grows by a gigabyte or two a second."""
END_S = 20.0
INSTALL = "install it: `apt install bubblewrap` (Debian, Ubuntu), `dnf install bubblewrap` (Fedora)"


def _nothing(_place: int, _outcome: Outcome) -> None:
    pass


def run(program: Program, limits: Limits | None = None) -> Outcome:
    """Runs one program; raises `MeasurementError` when there is no sandbox. It never runs without one."""
    return run_all([program], limits)[0]


def run_all(
    programs: Iterable[Program], limits: Limits | None = None, *, workers: int | None = None,
    done: Callable[[int, Outcome], None] = _nothing,
) -> list[Outcome]:
    """Runs all programs, `workers` at a time (default: as many as cores); outcomes in the order of `programs`.

    `done` is told place and outcome of each as it ends. An exception, also Ctrl-C, ends those that run. Raises
    `MeasurementError` when a sandbox does not start: that says nothing about the program.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise MeasurementError(f"the sandbox did not start: bubblewrap is missing; {INSTALL}")
    limits = limits or Limits()
    workers = workers or len(os.sched_getaffinity(0))
    waiting = enumerate(programs)
    outcomes: dict[int, Outcome] = {}
    live: dict[int, Running] = {}
    with selectors.DefaultSelector() as selector:
        try:
            more = True
            while live or more:
                while more and len(live) < workers:
                    place, program = next(waiting, (-1, None))
                    if program is None:
                        more = False
                    else:
                        live[place] = Running(program, limits, bwrap, selector)
                for place in _turn(selector, live):
                    outcomes[place] = live.pop(place).outcome()
                    done(place, outcomes[place])
        finally:
            _end(selector, live)
    return [outcomes[place] for place in range(len(outcomes))]


def _turn(selector: selectors.BaseSelector, live: dict[int, Running]) -> list[int]:
    """Waits a moment for news; the places of those that are finished."""
    for key, _ in selector.select(TICK_S):
        key.data()
    for running in live.values():
        running.check()
    return [place for place, running in live.items() if running.finished]


def _end(selector: selectors.BaseSelector, live: dict[int, Running]) -> None:
    for running in live.values():
        running.give_up()
    give_up = time.monotonic() + END_S
    while live:
        for place in _turn(selector, live):
            del live[place]
        if time.monotonic() > give_up:
            raise MeasurementError(f"{len(live)} sandboxes survive SIGKILL; end the `bwrap` processes before going on")
