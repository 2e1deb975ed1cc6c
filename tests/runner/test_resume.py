"""Killed at any moment, a run loses at most the cell in hand, and goes on where it stopped."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quantcheck.runner.speed import limited_by_client
from quantcheck.store import Store
from tests.conftest import Run, command, left_running

pytestmark = pytest.mark.alone


Stamps = dict[str, int | None]


def written(results: Path) -> Stamps:
    """Every stored cell, read whole (record and raw samples), and when it was written.

    None for one that shows the client: on a busy machine there are such, and the next run measures them again.
    """
    found: Stamps = {}
    for cell in Store(results).cells():
        assert len(cell.table("requests")["request"]) > 0
        assert len(cell.table("chunks")["at_s"]) > 0
        found[cell.key.id] = None if limited_by_client(cell) else (cell.folder / "cell.json").stat().st_mtime_ns
    return found


def stand(before: Stamps, after: Stamps) -> bool:
    """Whether no figure of `before` was lost or measured again."""
    return all(at is None or after.get(name) == at for name, at in before.items())


def test_kill_at_any_moment(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    fake(blocks=3)
    results = tmp_path / "results" / "exp"
    moments = random.Random(20261120)
    seen: Stamps = {}
    kills = 0
    while kills < 12:
        process = subprocess.Popen(command("run", "exp.yaml", "--quiet"), cwd=tmp_path, stderr=subprocess.PIPE)
        try:
            process.wait(timeout=moments.uniform(0.1, 3.0))
            # It ended by itself: nothing was left to measure. Begin again.
            assert process.returncode == 0
            if (results / "cells").exists():
                for folder in (results / "cells").iterdir():
                    seen.pop(folder.name, None)
                    for file in folder.iterdir():
                        file.unlink()
                    folder.rmdir()
            continue
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        deadline = time.monotonic() + 10
        while left_running() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert left_running() == []
        if (results / "cells").exists():
            now = written(results)
            assert stand(seen, now), "a stored cell was lost or measured again"
            # Put by to be measured again, a cell is still there.
            here = {folder.name.removeprefix(".again-") for folder in (results / "cells").iterdir()}
            assert seen.keys() <= here
            seen = now
    done = run("run", "exp.yaml")
    assert done.returncode == 0, done.stderr
    final = written(results)
    assert stand(seen, final)
    assert len(final) == 3 * 3 * 4  # blocks x (baseline, its twin, one variant) x windows
    assert json.loads((results / "summary.json").read_text())


def test_a_second_run_measures_nothing(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    fake(blocks=1)
    assert run("run", "exp.yaml").returncode == 0
    first = written(tmp_path / "results" / "exp")
    again = run("run", "exp.yaml")
    assert again.returncode == 0
    kept = [name for name, at in first.items() if at is not None]
    assert not kept or f"{len(kept)} of them stored already" in again.stderr
    second = written(tmp_path / "results" / "exp")
    assert stand(first, second)
    assert second.keys() == first.keys()


def test_a_changed_experiment_keeps_what_still_holds(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    fake(blocks=1)
    run("run", "exp.yaml")
    first = written(tmp_path / "results" / "exp")
    fake(blocks=2)
    assert run("run", "exp.yaml").returncode == 0
    second = written(tmp_path / "results" / "exp")
    assert stand(first, second)
    assert first.keys() <= second.keys()
    assert len(second) == 2 * len(first)


def test_ctrl_c_ends_everything_and_keeps_finished_cells(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    fake(blocks=20)
    process = subprocess.Popen(command("run", "exp.yaml"), cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    assert process.stderr is not None
    while "[3/" not in process.stderr.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=30)
    assert process.returncode == 130
    assert words.strip().splitlines()[-1].startswith("quantcheck: interrupted; finished cells are kept")
    assert "Traceback" not in words
    assert left_running() == []
    assert len(written(tmp_path / "results" / "exp")) >= 3
