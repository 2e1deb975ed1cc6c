"""The runs below some folders, and where each of them stands, by looking at names and times alone."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from quantcheck.errors import StoreError
from quantcheck.report.cells import planned_cells
from quantcheck.report.stored import read_experiment
from quantcheck.spec.experiment import AGAIN, Experiment
from quantcheck.store import CellKey, Store

__all__ = ["CellPlace", "Run", "State", "find_runs"]

DEEPEST = 6
"""How many folders down a run is looked for."""
SETTLED_S = 2.0
"""A folder that changed later than this ago may have changed again within one tick of its clock."""
LARGEST = 50_000_000
"""Bytes of an experiment.json; what is larger is none."""
WATCHED = ("experiment.json", "cells", "summary.json")

Words = Literal["running", "stopped", "finished", "unreadable"]


def find_runs(folders: Sequence[Path], ending: Callable[[], bool] = lambda: False) -> dict[str, Path]:
    """Every folder in or below `folders` that holds experiment.json, by a name: its path below the one folder that is
    given, or with several the whole path. Links to folders are not followed, hidden folders are left out.

    Gives up where `ending` says so.
    """
    found: dict[str, Path] = {}
    seen = set()
    for top in folders:
        for inner, names, files in os.walk(top):
            if ending():
                return found
            root = Path(inner)
            below = root.relative_to(top)
            names[:] = sorted(name for name in names if not name.startswith(".")) if len(below.parts) < DEEPEST else []
            if "experiment.json" not in files:
                continue
            names.clear()
            if (real := os.path.realpath(root)) not in seen:
                seen.add(real)
                short = str(below) if below.parts else Path(real).name
                found[short if len(folders) == 1 else str(root)] = root
    return found


@dataclass(frozen=True)
class CellPlace:
    """A cell that is planned, and when it was stored (seconds since the epoch), if it was."""

    variant: str
    subject: str
    block: int
    at: float | None


@dataclass(frozen=True)
class State:
    """Where a run stands.

    `version` changes with everything that its figures depend on. `cells_here`: false where a folder keeps a report
    without the cells that it was made from. `now` is what a running run has in hand, as
    `runner.noted` leaves it. `changed`: when something was last stored, in seconds since the epoch.
    """

    name: str
    word: Words
    reason: str | None
    version: str
    changed: float
    experiment: str | None = None
    variants: tuple[str, ...] = ()
    cells: tuple[CellPlace, ...] = field(default=(), repr=False)
    cells_here: bool = True
    now: Mapping[str, Any] | None = None

    @property
    def stored(self) -> int:
        return sum(cell.at is not None for cell in self.cells)

    def line(self) -> dict[str, Any]:
        """As the list of runs shows it."""
        return {"name": self.name, "state": self.word, "reason": self.reason, "changed": self.changed,
                "experiment": self.experiment, "variants": list(self.variants), "stored": self.stored,
                "planned": len(self.cells), "cells_here": self.cells_here}


class Run:
    """One results folder; `look` is cheap enough to be called every second, and changes nothing in the folder."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root
        self._store = Store(root)
        self._document: Mapping[str, Any] = {}
        self._experiment: Experiment | None = None
        self._reason: str | None = None
        self._read: tuple[int, int] | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._times: dict[str, int] = {}
        self._cells: tuple[CellPlace, ...] = ()

    @property
    def document(self) -> Mapping[str, Any]:
        """experiment.json as the last look read it; empty where it could not."""
        return self._document if self._experiment is not None else {}

    def look(self) -> State:
        """Where it stands now."""
        experiment, cells, summary = (_changed_ns(self.root / name) for name in WATCHED)
        stamp = experiment, cells, summary
        if stamp != self._stamp or time.time() - max(stamp) / 1e9 < SETTLED_S:
            self._list(stamp)
        running = self._store.locked()
        if self._experiment is None:
            return State(self.name, "unreadable", self._reason, self._version(running), max(stamp) / 1e9)
        finished = "cells" in self._document
        here = bool(self._times) or not summary
        return State(
            self.name, "running" if running else "finished" if finished else "stopped", None, self._version(running),
            max(stamp[:2]) / 1e9, self._experiment.name, tuple(self._experiment.variants), self._cells, here,
            self._now() if running else None,
        )  # fmt: skip

    def record(self, cell: str) -> bytes | None:
        """cell.json of a stored cell, named as its folder is; None for anything that the last look did not see."""
        path = self.root / "cells" / cell / "cell.json"
        if cell not in self._times or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root)):
            return None
        try:
            return path.read_bytes()
        except OSError:
            return None

    def _list(self, stamp: tuple[int, int, int]) -> None:
        try:
            about = (self.root / "experiment.json").stat()
            if self._read != (about.st_mtime_ns, about.st_size):
                self._open(about.st_size)
                self._read = about.st_mtime_ns, about.st_size
        except (OSError, StoreError, RecursionError) as error:
            self._experiment, self._reason, self._read = None, str(error), None
        try:
            with os.scandir(self.root / "cells") as entries:
                self._times = {entry.name: entry.stat().st_mtime_ns for entry in entries if entry.name[0] != "."}
        except OSError:
            # Not there yet, or a cell was taken away meanwhile: the next look comes soon.
            self._times = {}
        self._cells = self._places()
        self._stamp = stamp

    def _open(self, size: int) -> None:
        if size > LARGEST:
            raise StoreError(f"{self.root / 'experiment.json'}: {size:,} bytes are no experiment's")
        document, experiment = read_experiment(self._store)
        if not all(isinstance(document.get(key, []), list) for key in ("cells", "planned")):
            raise StoreError(f"{self.root / 'experiment.json'}: was not written by a run; its cells are no list")
        self._document, self._experiment, self._reason = document, experiment, None

    def _version(self, running: bool) -> str:
        experiment, _, summary = self._stamp or (0, 0, 0)
        told = [experiment, summary, sorted(self._times.items()), running]
        return sha256(json.dumps(told).encode()).hexdigest()[:16]

    def _places(self) -> tuple[CellPlace, ...]:
        """Those that the run planned, in its order; before it has noted them, those that the experiment asks for."""
        if self._experiment is None:
            return ()
        places = {_readable(key): (key.variant, key.subject, key.block) for key in _keys(self._experiment)}
        planned = self._document.get("planned", self._document.get("cells"))
        if planned is None:
            by_place = {name.rpartition("-")[0]: at for name, at in self._times.items()}
            return tuple(CellPlace(*place, _seconds(by_place.get(name))) for name, place in places.items())
        names = [str(name) for name in planned]
        return tuple(CellPlace(*places.get(name.rpartition("-")[0], (name, "", 0)), _seconds(self._times.get(name)))
                     for name in names)

    def _now(self) -> Mapping[str, Any] | None:
        try:
            told = json.loads((self._store.work / "progress.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return told if isinstance(told, dict) else None


def _keys(experiment: Experiment) -> list[CellKey]:
    order = [*experiment.variants, experiment.baseline + AGAIN]
    places = sorted(planned_cells(experiment), key=lambda p: (p[0] == "load", p[3], order.index(p[1]), p[2]))
    return [CellKey("load" if kind == "load" else "quality", variant, subject, block, "")
            for kind, variant, subject, block in places]


def _readable(key: CellKey) -> str:
    return key.id.rpartition("-")[0]


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e9


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
