"""The stored runs below some folders, a line each."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import orjson

from quantcheck.errors import SpecError
from quantcheck.report.listed import kept_or_made
from quantcheck.report.row import Row
from quantcheck.report.runs import Run, find_runs
from quantcheck.store import Store

__all__ = ["FILTERS", "RunLine", "list_runs", "select"]

FILTERS = ("name", "experiment", "model", "engine", "baseline", "machine", "state")


class RunLine(Row):
    """One run. `changed`: when something was last stored, UTC. `machine`: CPU, then GPUs. `hardware_id`: what keeps
    figures of unlike machines apart. `cells_here`: false where a folder keeps
    a report alone. `sentence`: the recommendation of the last report; null where there is none."""

    name: str
    folder: str
    state: Literal["running", "stopped", "finished", "unreadable"]
    reason: str | None
    experiment: str | None
    model: str | None
    engine: str | None
    baseline: str | None
    variants: list[str]
    machine: str | None
    hardware_id: str | None
    stored: int
    planned: int
    cells_here: bool
    changed: str
    sentence: str | None


def list_runs(folders: Sequence[Path]) -> list[RunLine]:
    """Every run in or below `folders`, by name. No cell is opened: only names, times and two files of each run; where
    none of them changed since the last listing, not even those (`listed.py`)."""
    return [_listed(name, root) for name, root in sorted(find_runs(folders).items())]


def select(lines: Iterable[RunLine], filters: Iterable[str]) -> list[RunLine]:
    """Those that every filter `KEY=VALUE` holds for; VALUE may hold `*` and `?`. Raises `SpecError` for another key."""
    wanted = []
    for text in filters:
        key, equals, value = text.partition("=")
        if key not in FILTERS or not equals:
            raise SpecError(f"--filter {text}: give KEY=VALUE with KEY one of {', '.join(FILTERS)}")
        wanted.append((key, value))
    return [line for line in lines if all(fnmatchcase(str(getattr(line, key) or ""), value) for key, value in wanted)]


def _listed(name: str, root: Path) -> RunLine:
    """A run that goes on, and one that cannot be read, are looked at each time."""
    if Store(root).locked():
        return _line(Run(name, root))
    unreadable: list[RunLine] = []

    def make() -> dict[str, Any] | None:
        line = _line(Run(name, root))
        if line.state in ("running", "unreadable"):
            unreadable.append(line)
            return None
        return line.model_dump(mode="json", exclude={"name", "folder"})

    kept = kept_or_made(root, make)
    if unreadable or kept is None:
        return unreadable[0]
    try:
        return RunLine(name=name, folder=str(root), **kept)
    except (TypeError, ValueError):  # of another version that bears the same number
        return _line(Run(name, root))


def _line(run: Run) -> RunLine:
    state = run.look()
    document = run.document
    experiment = _mapping(document.get("experiment"))
    environment = _mapping(document.get("environment"))
    return RunLine(
        name=run.name, folder=str(run.root), state=state.word, reason=state.reason, experiment=state.experiment,
        model=_text(experiment.get("model")), engine=_text(_mapping(experiment.get("engine")).get("kind")),
        baseline=_text(experiment.get("baseline")), variants=list(state.variants), machine=_machine(environment),
        hardware_id=_text(document.get("hardware_id")), stored=state.stored, planned=len(state.cells),
        cells_here=state.cells_here,
        changed=datetime.fromtimestamp(state.changed, UTC).strftime("%Y-%m-%d %H:%M"),
        sentence=_sentence(run.root / "summary.json"),
    )  # fmt: skip


def _machine(environment: Mapping[str, Any]) -> str | None:
    gpus = environment.get("gpus")
    named = [_text(_mapping(gpu).get("name")) for gpu in gpus] if isinstance(gpus, list) else []
    return ", ".join(part for part in [_text(environment.get("cpu")), *named] if part) or None


def _sentence(path: Path) -> str | None:
    try:
        summary = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return _text(_mapping(_mapping(summary).get("recommendation")).get("sentence"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
