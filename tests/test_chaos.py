"""Runs that are struck at drawn moments (benchmarks/chaos): a few trials, and that its checks see what they are for."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from benchmarks.chaos import checks
from benchmarks.chaos.kinds import KINDS
from benchmarks.chaos.processes import MARK, left

import quantcheck
from quantcheck.spec.document import parse
from quantcheck.store import Store

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_few_trials(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", "--trials", "6", "--seed", "2", "--workers", "2", "--kinds", "fake",
         "--keep", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 of 6 trials without a fault" in done.stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("chaos") / "exp"
    quantcheck.run(parse(KINDS["fake"].experiment, source="chaos", name="exp"), out)
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "exp"))


def cell(out: Path) -> Path:
    return min((out / "cells").iterdir())


def test_a_whole_run_has_no_fault(out: Path, whole: Path, tmp_path: Path) -> None:
    for folder in ("cache", "temporary"):
        (tmp_path / folder).mkdir()
    assert checks.finished(out, whole, ("quality",)) == []
    assert checks.stored(out) == []
    assert checks.undocumented(out, tmp_path / "cache", tmp_path / "temporary") == []


def test_a_lost_and_a_changed_cell_are_seen(out: Path, whole: Path) -> None:
    before = checks.cells_of(out)
    chunks = cell(out) / "chunks.parquet"
    chunks.write_bytes(chunks.read_bytes()[:-1] + b"x")
    assert checks.kept(before, checks.cells_of(out)) == [f"cell {cell(out).name} was changed"]
    assert any("damaged" in fault for fault in checks.stored(out))
    name = cell(out).name
    shutil.rmtree(cell(out))
    assert checks.kept(before, checks.cells_of(out)) == [f"cell {name} was lost"]
    assert checks.finished(out, whole, ()) == [f"cell {name} is missing"]


def test_a_cell_that_is_there_twice_is_seen(out: Path, whole: Path) -> None:
    key = Store(out).cell(next(Store(out).cells()).key).key
    again = type(key)(key.kind, key.variant, key.subject, key.block, "f" * 64)
    store = Store(out)
    store.lock()
    assert checks.stored(out) == [f"{out.name}: the lock is still held"]
    store.write(again, {"result": {}}, {})
    store.unlock()
    assert any("is there 2 times" in fault for fault in checks.stored(out))
    assert checks.finished(out, whole, ()) == [f"cell {again.id} is not a planned one"]


def test_a_report_that_leaves_a_cell_out_is_seen(out: Path, whole: Path) -> None:
    summary = json.loads((out / "summary.json").read_text())
    summary["speed"].pop()
    (out / "summary.json").write_text(json.dumps(summary))
    assert checks.finished(out, whole, ()) == ["summary.json: other rows of speed than undisturbed"]


@pytest.mark.parametrize("name", ["exp/work/progress.json", "exp/cells/.writing-x/cell.json", "exp/.summary.json.part",
                                  "cache/ceilings/x.part", "cache/artifacts/.F16-0.making/model.gguf", "temporary/x"])
def test_a_file_that_nobody_wants_is_seen(out: Path, tmp_path: Path, name: str) -> None:
    for folder in ("cache", "temporary"):
        (tmp_path / folder).mkdir()
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert len(checks.undocumented(out, tmp_path / "cache", tmp_path / "temporary")) == 1


def test_what_a_resumed_run_took_is_read() -> None:
    assert checks.stored_told("note: x\n4 cells, 3 of them stored already\n[4/4] a\n", 3) == []
    assert checks.stored_told("4 cells\n", 0) == []
    assert checks.stored_told("4 cells\n", 1) == ["1 cells were complete, the resumed run took 0"]


def test_a_process_that_is_left_is_seen() -> None:
    mark = uuid.uuid4().hex
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, MARK: mark},
                               start_new_session=True)
    try:
        assert [line.split()[0] for line in left(mark) if line.split()[0] == str(sleeper.pid)] == [str(sleeper.pid)]
    finally:
        sleeper.kill()
        sleeper.wait()
    assert not any(line.startswith(f"{sleeper.pid} ") for line in left(mark))
