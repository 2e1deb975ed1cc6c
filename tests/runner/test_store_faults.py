"""What a disk, a clock or another version does to a results folder: it is named, or it changes no figure."""

import errno
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quantcheck
from quantcheck.cli.gate import command as gate
from quantcheck.errors import QuantcheckError, StoreError
from quantcheck.report.stored import read_run
from quantcheck.runner.run import Outcome
from quantcheck.store import Store
from quantcheck.store.sealed import SCHEMA_VERSION, sealed

EXPERIMENT = {
    "name": "exp", "model": "none", "baseline": "a", "blocks": 2, "noise_floor": False,
    "variants": {"a": {"scheme": "gguf/F16"}, "b": {"scheme": "gguf/Q8_0"}},
    "engine": {"kind": "fake", "ttft_ms": 4, "itl_ms": 1},
    "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 6}}, "requests": 6, "warmup_requests": 1},
}  # fmt: skip


def measure(out: Path) -> Outcome:
    return quantcheck.run(quantcheck.Experiment.model_validate(EXPERIMENT), out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the fake engine, never changed."""
    out = tmp_path_factory.mktemp("whole") / "exp"
    measure(out)
    return out


@pytest.fixture
def results(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "exp")
    return tmp_path / "exp"


def figures(out: Path) -> dict[str, Any]:
    """All that a report says, but where it was read."""
    return read_run(Store(out), unfinished=True).summary().model_dump(mode="json")


def named(reasons: list[str], file: Path, out: Path) -> bool:
    """Whether some reason names the file, or the cell that it belongs to."""
    inner = file.relative_to(out)
    wanted = inner.parts[1] if inner.parts[0] == "cells" else inner.name
    return any(wanted in reason for reason in reasons)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), cut=st.booleans())
def test_a_damaged_file_is_named_or_harmless(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, seed: int, cut: bool
) -> None:
    rng = random.Random(seed)
    out = tmp_path_factory.mktemp("damaged") / "exp"
    shutil.copytree(whole, out)
    try:
        file = rng.choice(sorted(p for p in out.rglob("*") if p.is_file() and p.stat().st_size))
        content = bytearray(file.read_bytes())
        if cut:
            del content[rng.randrange(len(content)):]
        else:
            for _ in range(rng.choice([1, 1, 2, 8])):
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)
        try:
            told = figures(out)
        except QuantcheckError as error:
            assert named([str(error)], file, out), error
            return
        if told != figures(whole):
            assert named([problem["reason"] for problem in told["not_measured"]], file, out), file
    finally:
        shutil.rmtree(out.parent)


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["cell.json", "requests.parquet", "chunks.parquet"])
def test_a_damaged_cell_is_measured_again_and_the_rest_kept(results: Path, name: str) -> None:
    cells = sorted((results / "cells").iterdir())
    before = {cell.name: (cell / "cell.json").read_bytes() for cell in cells[1:]}
    damage(cells[0] / name)
    gated = CliRunner().invoke(gate, [str(results)])
    assert gated.exit_code in (0, 1, 2)
    assert not isinstance(gated.exception, QuantcheckError), gated.exception
    assert any(cells[0].name in problem["reason"] for problem in figures(results)["not_measured"])
    done = measure(results)
    assert done.measured == 1
    assert {cell.name: (cell / "cell.json").read_bytes() for cell in cells[1:]} == before
    assert [kept.name.rpartition(".")[0] for kept in (results / "damaged").iterdir()] == [cells[0].name]
    assert not any("damaged" in row["reason"] for row in figures(results)["not_measured"])


def test_a_damaged_experiment_is_named_and_its_cells_stay(results: Path) -> None:
    damage(results / "experiment.json")
    before = contents(results)
    with pytest.raises(StoreError, match=r"experiment\.json: .*; move this file away and run again"):
        measure(results)
    assert contents(results) == before
    (results / "experiment.json").unlink()
    assert measure(results).measured == 0


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def rewritten(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize("name", ["experiment.json", "cell.json"])
def test_a_newer_schema_is_refused_and_nothing_changed(results: Path, name: str) -> None:
    path = next(results.rglob(name))
    rewritten(path, lambda document: {**{k: v for k, v in document.items() if k != "sha256"},
                                      "schema": SCHEMA_VERSION + 1})
    before = contents(results)
    for go in (measure, figures):
        with pytest.raises(StoreError, match=f"schema {SCHEMA_VERSION + 1}, this version reads up to"):
            go(results)
    assert contents(results) == before


def test_an_older_store_is_read_and_gone_on_with(results: Path) -> None:
    was = figures(results)
    for path in [results / "experiment.json", *results.glob("cells/*/cell.json")]:
        rewritten(path, lambda document: {**{k: v for k, v in document.items() if k not in ("sha256", "tables")},
                                          "schema": 1})
    assert figures(results) == was
    cut = min(results.glob("cells/*/chunks.parquet"))
    cut.write_bytes(cut.read_bytes()[:-20])
    assert any("chunks.parquet" in problem["reason"] for problem in figures(results)["not_measured"])
    assert measure(results).measured == 1
    assert json.loads((results / "experiment.json").read_text())["schema"] == SCHEMA_VERSION


def test_a_full_disk_ends_in_one_line_and_loses_nothing(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    real = os.fsync

    def full(handle: int) -> None:
        nonlocal count
        count += 1
        if count > 14:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="free disk space"):
            measure(tmp_path / "exp")
    kept = set((tmp_path / "exp" / "cells").iterdir())
    done = measure(tmp_path / "exp")
    assert done.measured + len(kept) == len(list((whole / "cells").iterdir()))
    assert Store(tmp_path / "exp").damaged() == {}


def test_a_clock_that_is_set_back_changes_no_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = time.time, 0

    def stepping() -> float:
        nonlocal calls
        calls += 1
        return real() - 3600.0 * calls

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", stepping)
        done = measure(tmp_path / "exp")
    cells = [cell.record for cell in Store(tmp_path / "exp").cells()]
    assert len(cells) == 4
    assert all(0 < cell["duration_s"] < 60 for cell in cells)
    assert all(0 <= seconds < 120 for seconds in done.stages.values())
    for row in done.summary.speed:
        assert row.value.value is None or row.value.value >= 0


def test_two_runs_on_one_store_are_never_mixed(results: Path) -> None:
    holder = Store(results)
    holder.lock()
    before = contents(results)
    with pytest.raises(StoreError, match="another quantcheck is writing here"):
        measure(results)
    assert contents(results) == before
    holder.unlock()


def test_a_seal_survives_what_json_changes() -> None:
    document = {"a": (1, 2), "é": 0.1, "n": {"1": None}}
    once = json.loads(json.dumps(sealed(document)))
    assert sealed(once) == once
