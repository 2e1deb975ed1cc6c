"""`quantcheck run --block`: a run in halves, and the halves made one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import quantcheck
from quantcheck.cli.source import experiment_named
from quantcheck.runner import walk
from tests.conftest import Run


def blocks(folder: Path) -> set[int]:
    return {json.loads(file.read_text())["key"]["block"] for file in folder.glob("cells/*/cell.json")}


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_two_halves_become_one_run(fake: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    file = str(fake(blocks=3))
    first = run("run", file, "--out", "one", "--block", "1", "--block", "3")
    assert first.returncode == 0, first.stderr
    assert blocks(tmp_path / "one") == {0, 2}
    assert not summary(tmp_path / "one")["cells"]["finished"]
    assert run("run", file, "--out", "two", "--block", "2", "-q").returncode == 0
    assert blocks(tmp_path / "two") == {1}
    for half in ("one", "two"):
        assert run("runs", "push", half, "all").returncode == 0
    assert run("runs", "pull", "all", "whole").returncode == 0
    assert run("report", "whole").returncode == 0
    assert blocks(tmp_path / "whole") == {0, 1, 2}
    assert summary(tmp_path / "whole")["cells"]["finished"]
    before = sorted((tmp_path / "whole" / "cells").iterdir())
    assert run("run", file, "--out", "whole", "-q").returncode == 0
    assert sorted((tmp_path / "whole" / "cells").iterdir()) == before


def test_a_cell_of_another_block_is_kept_and_reported(
    fake: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that shows the client is put by for another try, which this run does not make."""
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    experiment, out = experiment_named(str(fake(blocks=2))), tmp_path / "out"
    assert quantcheck.run(experiment, out).measured == 24
    monkeypatch.setattr(walk, "limited_by_client", lambda cell: True)
    before = times(out)
    outcome = quantcheck.run(experiment, out, blocks=[1])
    assert outcome.measured == 12
    assert outcome.summary.cells is not None
    assert outcome.summary.cells.stored == 24
    after = times(out)
    assert set(after) == set(before)
    assert {path for path in after if after[path] == before[path]} == {path for path in after if ".b0-" in str(path)}


def times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob("cells/[!.]*/cell.json")}


def test_a_block_that_there_is_not(fake: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    done = run("run", str(fake(blocks=2)), "--block", "3")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "quantcheck: block 3: the experiment has 2 (`blocks:`)"
    assert not (tmp_path / "results").exists()
    assert "not in the range" in run("run", "--block", "0").stderr
