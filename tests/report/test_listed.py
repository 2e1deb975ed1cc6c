"""A run's line kept beside it: taken only where nothing changed, whatever was changed and however."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quantcheck.report import listed
from quantcheck.report.listing import RunLine, list_runs
from quantcheck.report.runs import Run
from quantcheck.spec.experiment import Experiment
from quantcheck.store import CellKey, Store

KEYS = [CellKey("load", variant, "s@c1", block, f"{block:064x}") for block in range(2) for variant in "ab"]


def write(store: Store, cells: list[CellKey] = KEYS, **changes: Any) -> None:
    experiment = Experiment.model_validate({
        "name": "exp", "model": "none", "baseline": "a", "noise_floor": False, "blocks": 2,
        "variants": {"a": {"scheme": "gguf/F16"}, "b": {"scheme": "gguf/Q8_0"}}, "engine": {"kind": "fake"},
        "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 8}}}, **changes,
    })
    names = [key.id for key in KEYS]
    store.write_document("experiment.json", json.dumps({
        "experiment": experiment.model_dump(mode="json", by_alias=True), "planned": names,
        "cells": [key.id for key in cells]}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four planned cells, three stored; all of it written some time ago."""
    made = Store(tmp_path / "runs" / "one")
    made.lock()
    for key in KEYS[:3]:
        made.write(key, {"result": {}}, {})
    write(made)
    made.write_document("summary.json", json.dumps({"recommendation": {"sentence": "take b"}}))
    made.unlock()
    return made


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Runs that were read; the clock is ten seconds on, so that all has come to rest."""
    found: list[Path] = []
    look = Run.look

    def counted(self: Run) -> Any:
        found.append(self.root)
        return look(self)

    monkeypatch.setattr(Run, "look", counted)
    now = time.time
    monkeypatch.setattr(listed.time, "time", lambda: now() + 10)
    return found


def line(store: Store) -> RunLine:
    (found,) = list_runs([store.root.parent])
    return found


def test_the_second_listing_reads_nothing_and_says_the_same(store: Store, looks: list[Path]) -> None:
    first = line(store)
    assert (first.stored, first.planned, first.sentence, first.state) == (3, 4, "take b", "finished")
    assert line(store) == first
    assert len(looks) == 1


def test_what_has_not_come_to_rest_is_not_kept(store: Store, looks: list[Path], monkeypatch: pytest.MonkeyPatch
                                               ) -> None:
    monkeypatch.undo()
    line(store)
    assert not (store.root / listed.LISTED).exists()


def _keeps_times(path: Path, text: str) -> None:
    """Another content of the same length at the same time of change: only the kernel's own time tells."""
    about = path.stat()
    path.write_text(text)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert path.stat().st_size == about.st_size


def _add(store: Store) -> None:
    store.lock()
    store.write(KEYS[3], {"result": {}}, {})
    store.unlock()


def _put_by(store: Store) -> None:
    store.lock()
    store.put_by(KEYS[0])
    os.close(store._lock or 0)  # as after a kill: nobody put it back
    store._lock = None


@pytest.mark.parametrize(("change", "key", "value"), [
    (_add, "stored", 4),
    (_put_by, "stored", 2),
    (lambda s: shutil.rmtree(s.root / "cells" / KEYS[0].id), "stored", 2),
    (lambda s: (s.root / "cells" / KEYS[0].id).rename(s.root / "cells" / "else"), "stored", 2),
    (lambda s: shutil.rmtree(s.root / "cells"), "cells_here", False),
    (lambda s: write(s, name="other"), "experiment", "other"),
    (lambda s: (s.root / "experiment.json").write_text("{"), "state", "unreadable"),
    (lambda s: (s.root / "summary.json").unlink(), "sentence", None),
    (lambda s: _keeps_times(s.root / "summary.json", json.dumps({"recommendation": {"sentence": "take a"}})),
     "sentence", "take a"),
])
def test_a_change_is_seen_at_once(
    store: Store, looks: list[Path], change: Callable[[Store], object], key: str, value: object
) -> None:
    line(store)
    assert (store.root / listed.LISTED).exists()
    change(store)
    assert getattr(line(store), key) == value


def test_a_run_that_goes_on_is_looked_at_each_time(store: Store, looks: list[Path]) -> None:
    line(store)
    store.lock()
    try:
        assert line(store).state == "running"
        assert line(store).state == "running"
    finally:
        store.unlock()
    assert line(store).state == "finished"


@pytest.mark.parametrize("spoil", [
    lambda text: text[: len(text) // 2],
    lambda text: "",
    lambda text: "[]",
    lambda text: text.replace("take b", "take c"),
    lambda text: text.replace('"stored": 3', '"stored": 4'),
])
def test_a_spoilt_line_is_made_again(store: Store, looks: list[Path], spoil: Callable[[str], str]) -> None:
    first = line(store)
    kept = store.root / listed.LISTED
    spoilt = spoil(kept.read_text())
    assert spoilt != kept.read_text()
    kept.write_text(spoilt)
    assert line(store) == first
    assert len(looks) == 2


def test_a_copied_folder_is_read_and_another_version_s_line_is_not_taken(
    store: Store, looks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line(store)
    shutil.copytree(store.root, tmp_path / "copies" / "two")
    list_runs([tmp_path / "copies"])
    assert looks == [store.root, tmp_path / "copies" / "two"]
    monkeypatch.setattr("quantcheck.__version__", "0.0.0")
    line(store)
    assert looks.count(store.root) == 2


def test_a_folder_that_cannot_be_written_is_read_each_time(store: Store, looks: list[Path],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    assert line(store) == line(store)
    assert len(looks) == 2
    assert not list(store.root.glob(".*.part"))
