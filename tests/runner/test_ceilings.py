"""Where a run's ceilings come from: the results folder, the user's cache, or the probe."""

import json
from pathlib import Path
from typing import Any

import pytest

from quantcheck import Experiment, make_plan
from quantcheck.runner import ceilings
from quantcheck.runner.progress import Silent
from quantcheck.store import Store


class Hears(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def plan(**engine: Any) -> Any:
    return make_plan(Experiment.model_validate({
        "name": "x", "model": "none", "baseline": "a", "variants": {"a": {"scheme": "gguf/F16"}},
        "engine": {"kind": "llama.cpp", "threads": 1, **engine},
        "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 8}}},
    }))


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Every measurement that was asked for; the cache is this test's own."""
    asked: list[Any] = []

    def measure(what: Any, python: Any, *, cuda: bool) -> dict[str, Any]:
        asked.append((what["threads"], cuda))
        return {"cpu": [{"threads": count} for count in what["threads"]]}

    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ceilings, "_measure", measure)
    monkeypatch.setattr(ceilings, "usable_threads", lambda: 2)
    return asked


def test_measured_once_per_machine(probes: list[Any], tmp_path: Path) -> None:
    first = ceilings.ceilings_of(plan(), Store(tmp_path / "a"), Silent())
    again = ceilings.ceilings_of(plan(), Store(tmp_path / "b"), Silent())
    assert probes == [([1, 2], False)]
    assert first == again
    assert first is not None
    assert first["quiet"] is True
    # Other threads, other ceilings.
    other = ceilings.ceilings_of(plan(threads=4), Store(tmp_path / "a"), Silent())
    assert other is not None
    assert [device["threads"] for device in other["cpu"]] == [2, 4]
    assert len(probes) == 2


def test_a_busy_machines_are_not_kept(probes: list[Any], tmp_path: Path) -> None:
    busy = ceilings.ceilings_of(plan(), Store(tmp_path / "a"), Silent(), quiet=False)
    assert busy is not None
    assert busy["quiet"] is False
    ceilings.ceilings_of(plan(), Store(tmp_path / "a"), Silent())
    assert len(probes) == 2


def test_a_results_folder_keeps_its_own(probes: list[Any], tmp_path: Path) -> None:
    store = Store(tmp_path / "a")
    store.lock()
    found = ceilings.ceilings_of(plan(), store, Silent(), quiet=False)
    store.write_document("experiment.json", json.dumps({"ceilings": found}))
    store.unlock()
    assert ceilings.ceilings_of(plan(), store, Silent()) == found
    assert len(probes) == 1


def test_a_damaged_cache_is_measured_again(probes: list[Any], tmp_path: Path) -> None:
    ceilings.ceilings_of(plan(), Store(tmp_path / "a"), Silent())
    kept = list((tmp_path / "cache" / "ceilings").iterdir())
    assert [path.suffix for path in kept] == [".json"]
    kept[0].write_text('{"what": ', encoding="utf-8")
    ceilings.ceilings_of(plan(), Store(tmp_path / "a"), Silent())
    assert len(probes) == 2


def test_a_probe_that_fails_ends_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ceilings, "sys", type("sys", (), {"executable": "/bin/false"}))
    hears = Hears()
    assert ceilings.ceilings_of(plan(), Store(tmp_path / "a"), hears) is None
    assert len(hears.notes) == 1
    assert "could not be measured (exit code 1)" in hears.notes[0]
    assert not (tmp_path / "cache" / "ceilings").exists()


def test_the_fake_engine_has_none(probes: list[Any], tmp_path: Path) -> None:
    fake = make_plan(Experiment.model_validate({
        "name": "x", "model": "none", "baseline": "a", "variants": {"a": {"scheme": "gguf/F16"}},
        "engine": {"kind": "fake"}, "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 8}}},
    }))
    assert ceilings.ceilings_of(fake, Store(tmp_path / "a"), Silent()) is None
    assert probes == []
