"""The wall clock of a run's processes is set by an hour, 25 times a second: no duration and no figure follows it."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quantcheck.store import Store
from tests.conftest import Run


@pytest.mark.alone
def test_no_figure_follows_the_wall_clock(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: the clock of other processes cannot be set")
    shim = tmp_path / "set_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(shim), str(Path(__file__).with_name("set_clock.c"))],
                   check=True)
    probe = "import time; print([time.sleep(0.013) or time.time() for _ in range(20)])"
    told = json.loads(subprocess.run([sys.executable, "-c", probe], env={"LD_PRELOAD": str(shim)}, text=True,
                                     capture_output=True, check=True).stdout)
    assert max(told) - min(told) > 7000, "the clock is not set"
    fake(blocks=1)
    began = time.monotonic()
    done = run("run", "exp.yaml", LD_PRELOAD=str(shim))
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    steps = 0
    for cell in Store(tmp_path / "results" / "exp").cells():
        result, requests, chunks = cell.record["result"], cell.table("requests"), cell.table("chunks")
        steps += result["client"]["clock_steps"]
        assert 0 < cell.record["duration_s"] < took
        assert 0 < result["window"]["length_s"] < took
        assert ((requests["end_s"] - requests["sent_s"] > 0) & (requests["end_s"] - requests["sent_s"] < took)).all()
        assert (abs(chunks["at_s"]) < took).all()
    assert steps > 0, "no load saw the clock set"
    rows = json.loads((tmp_path / "results" / "exp" / "summary.json").read_text())["speed"]
    durations = [row["value"]["value"] for row in rows if row["metric"] in ("ttft", "itl", "e2e")]
    assert durations
    assert all(value is None or 0 < value < took for value in durations)
