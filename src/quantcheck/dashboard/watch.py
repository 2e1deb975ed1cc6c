"""The runs, looked at once a second; whoever waits is told when something changed."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quantcheck.dashboard.figures import Figures
from quantcheck.report.runs import Run, State, find_runs

__all__ = ["Watch"]

LOOK_S = 1.0
SEARCH_REST = 20.0
"""Rest between searches for new folders, in multiples of the time that one takes, and at least this often a look:"""
SEARCH_EVERY_S = 3.0


class Watch:
    """`states` has the runs by name; the running ones first, then those that changed last."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.states: dict[str, State] = {}
        self.figures = Figures(self._tell, lambda: any(state.word == "running" for state in self.states.values()))
        self._folders = folders
        self._runs: dict[str, Run] = {}
        self._looked_at: Counter[str] = Counter()
        self._search_at = 0.0
        self._searched = False
        self._ending = False
        self._something = asyncio.Event()

    async def go_on(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Once, in a thread: a slow disk must not hold up the page."""
        states = await asyncio.to_thread(self._look)
        if not self._searched or list(states.values()) != list(self.states.values()):
            self.states, self._searched = states, True
            self._tell()
        for name in self._looked_at:
            if name in states and (states[name].stored or not states[name].cells_here):
                self.figures.refresh(self._runs[name], states[name])

    async def close(self) -> None:
        """End what goes on."""
        self._ending = True
        self._tell()
        await self.figures.close()

    def next_change(self) -> asyncio.Event:
        """Is set when something changes after now."""
        return self._something

    @contextmanager
    def looking_at(self, name: str | None) -> Iterator[None]:
        """As long as somebody looks at a run, its summary is kept up to date."""
        if name is None:
            yield
            return
        self._looked_at[name] += 1
        try:
            yield
        finally:
            self._looked_at[name] -= 1
            if not self._looked_at[name]:
                del self._looked_at[name]

    def run(self, name: str) -> tuple[Run, State] | None:
        """By a name out of the list, and by nothing else."""
        return (self._runs[name], self.states[name]) if name in self.states else None

    def told(self, name: str | None) -> Mapping[str, Any]:
        """What the page is told: all runs in a line each, and what the one that it shows has in hand."""
        found: dict[str, Any] = {"searched": self._searched, "folders": [str(folder) for folder in self._folders],
                                 "runs": [state.line() for state in self.states.values()], "run": None}
        if name in self.states:
            found["run"] = {"name": name, "now": self.states[name].now, "figures": self.figures.version(name)}
        return found

    def cells(self, name: str | None) -> Mapping[str, Any] | None:
        """Every cell of the run that is shown: they may be many, and change less often."""
        if name not in self.states:
            return None
        return {"name": name, "cells": [[cell.variant, cell.subject, cell.block, cell.at]
                                        for cell in self.states[name].cells]}

    def _tell(self) -> None:
        self._something.set()
        self._something = asyncio.Event()

    def _look(self) -> dict[str, State]:
        began = time.monotonic()
        if began >= self._search_at:
            found = find_runs(self._folders, lambda: self._ending)
            kept = {name: run for name, run in self._runs.items() if found.get(name) == run.root}
            self._runs = {name: kept.get(name) or Run(name, root) for name, root in found.items()}
            ended = time.monotonic()
            self._search_at = ended + max(SEARCH_EVERY_S, SEARCH_REST * (ended - began))
        states = [run.look() for run in self._runs.values()]
        states.sort(key=lambda state: (state.word != "running", -state.changed, state.name))
        return {state.name: state for state in states}
