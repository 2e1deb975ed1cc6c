"""`quantcheck compare` through the real command, on stored runs of the fake engine."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quantcheck.report.comparison import RunComparison

EXPERIMENT = """\
model: none
baseline: a
variants:
  a: {scheme: gguf/F16}
  b: {scheme: gguf/Q8_0}
engine: {kind: fake, ttft_ms: 4, itl_ms: 1}
load:
  workloads:
    short: {prompt_tokens: 8, output_tokens: 6}
  concurrency: [1, 3]
  requests: 9
  warmup_requests: %d
noise_floor: false
blocks: 2
"""


def go(folder: Path, *args: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([sys.executable, "-m", "quantcheck", *args], cwd=folder, capture_output=True, text=True,
                          timeout=120, check=False, env={**os.environ, "COLUMNS": "100"})
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs `a` and `c`, the second with other warm-up, and `b`, a copy of `a`."""
    folder = tmp_path_factory.mktemp("runs")
    for name, warmup in (("a", 1), ("c", 2)):
        (folder / f"{name}.yaml").write_text(EXPERIMENT % warmup)
        go(folder, "run", f"{name}.yaml", "--out", name, "--quiet")
    shutil.copytree(folder / "a", folder / "b")
    return folder


def test_alike_runs_give_verdicts_and_files(runs: Path, tmp_path: Path) -> None:
    done = go(runs, "compare", "a", "b", "--json", str(tmp_path / "c.json"), "--markdown", str(tmp_path / "c.md"))
    assert "Output throughput" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    found = RunComparison.model_validate(json.loads((tmp_path / "c.json").read_text()))
    assert [(row.a, row.b) for row in found.variants] == [("a", "a"), ("b", "b")]
    assert found.differences == []
    assert (tmp_path / "c.md").read_text().startswith("# a and b\n")


def test_a_name_after_a_colon_picks_a_variant(runs: Path) -> None:
    assert "b against a: " in go(runs, "compare", "a:a", "b:b").stdout
    assert "b: speed " in go(runs, "compare", "a:b", "b").stdout


def test_unlike_runs_are_refused_by_name_and_forced_without_words(runs: Path) -> None:
    done = go(runs, "compare", "a", "c", code=2)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("quantcheck: a and c are not comparable: load.warmup_requests (1 / 2)")
    forced = go(runs, "compare", "a", "c", "--force").stdout
    assert "load.warmup_requests differs, so no speed is comparable: A 1, B 2" in " ".join(forced.split())
    assert not any(word in forced for word in ("faster", "slower", "inconclusive", "no detectable"))


@pytest.mark.parametrize(("args", "message"), [
    (["a", "gone"], "gone: not a results folder (no experiment.json); give the folder that a run wrote"),
    (["a:x", "b"], "a: has no variant 'x'; it has a, b"),
    (["a", "b", "--json", "no/such/folder.json"], "no/such/folder.json: cannot be written"),
])
def test_mistakes_take_one_line(runs: Path, args: list[str], message: str) -> None:
    (line,) = go(runs, "compare", *args, code=2).stderr.splitlines()
    assert line.startswith(f"quantcheck: {message}")


def test_plan_reads_the_runs_beside_it(runs: Path) -> None:
    document = json.loads(go(runs, "plan", "a.yaml", "--out", "new", "--no-probe", "--json").stdout)
    assert {row["basis"].split(",")[0] for row in document["loads"]} <= {"a", "b", "c"}
    assert all(row["spread"] > 0 for row in document["loads"])
    text = go(runs, "plan", "a.yaml", "--out", "new", "--no-probe").stdout
    assert "Speed: what the blocks can show" in text
    assert max(map(len, text.splitlines())) <= 100
