"""The verbs through the real command: what they print, where, and with which exit code."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

import quantcheck
from quantcheck import presets
from quantcheck.spec.document import parse
from tests.conftest import FAKE

VERBS = ("run", "plan", "compare", "report", "presets", "doctor", "schema")
HEAVY = ("numpy", "scipy", "duckdb", "pydantic", "rich", "aiohttp", "psutil", "yaml", "gguf", "xllamacpp")
ESCAPE = "\x1b"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def go(tmp_path: Path) -> Run:
    """Run quantcheck in `tmp_path` with its output in pipes."""

    def call(*args: str, code: int = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run([sys.executable, "-m", "quantcheck", *args], cwd=tmp_path, capture_output=True, text=True,
                              timeout=120, check=False, env={**os.environ, **environment})
        assert done.returncode == code, (done.returncode, done.stderr)
        assert "Traceback" not in done.stderr
        assert ESCAPE not in done.stdout + done.stderr
        return done

    return call


def test_help_names_every_verb(go: Run) -> None:
    for flag in ("--help", "-h"):
        text = go(flag).stdout
        assert all(re.search(rf"^  {verb} ", text, re.MULTILINE) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(go: Run, verb: str) -> None:
    done = go(verb, "--help")
    assert done.stdout.startswith(f"Usage: quantcheck {verb}")
    assert done.stderr == ""


def test_version(go: Run) -> None:
    assert go("--version").stdout == f"quantcheck {quantcheck.__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "quantcheck", "--help"], capture_output=True,
                          text=True, timeout=60, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in loaded, "the probe sees imports"
    assert loaded.isdisjoint(HEAVY)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, quantcheck; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert set(done.stdout.split()).isdisjoint({*HEAVY, "click"})


def test_presets_are_listed_and_come_back_as_experiments(go: Run) -> None:
    listed = [line.split()[0] for line in go("presets").stdout.splitlines()]
    assert listed == presets.names()
    assert listed[0] == "reference"
    for name in listed:
        text = go("presets", name).stdout
        assert text == presets.text(name)
        assert parse(text, source="stdout", name=name) == presets.load(name)


def test_a_printed_preset_is_a_file_that_plans(go: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(go("presets", "gguf-ladder").stdout)
    mine, shipped = (go("plan", name, "--no-probe").stdout.splitlines() for name in ("mine.yaml", "gguf-ladder"))
    assert mine[1:] == shipped[1:]
    assert mine[0].startswith("mine: ")


def test_plan_counts_cells_and_touches_nothing(go: Run, tmp_path: Path) -> None:
    text = go("plan", "--no-probe").stdout
    data = yaml.safe_load(presets.text("reference"))
    entries = len(data["variants"]) + 1
    windows = len(data["load"]["workloads"]) * len(data["load"]["concurrency"])
    suites = len(data["quality"]["suites"]) + ("continuations" in data["quality"])
    cells = entries * (suites + data["blocks"] * windows)
    assert f"reference: {cells} cells" in text
    assert f"left to measure: {cells}" in text
    assert f"{entries * data['blocks']} engine starts" in text
    assert "F16@again" in text
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, subprocess.CompletedProcess[str]]":
    """A folder in which exp.yaml (fake engine, one block, 12 cells) was run with --quiet, and what that run said."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "exp.yaml").write_text(FAKE % ("", 1))
    return folder, subprocess.run([sys.executable, "-m", "quantcheck", "run", "exp.yaml", "--quiet"], cwd=folder,
                                  capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture
def there(
    go: Run, finished: "tuple[Path, subprocess.CompletedProcess[str]]", tmp_path: Path
) -> "subprocess.CompletedProcess[str]":
    """A copy of the finished run in `tmp_path`."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    return finished[1]


def test_plan_knows_what_a_run_stored(
    go: Run, there: "subprocess.CompletedProcess[str]", fake: Callable[..., Path]
) -> None:
    text = go("plan", "exp.yaml").stdout
    assert "stored      12; left to measure: 0" in text
    assert "nothing is left" in text
    fake(blocks=2)
    text = go("plan", "exp.yaml").stdout
    assert "stored      12; left to measure: 12" in text
    assert re.search(r"about \d+ s, from the cells stored here", text)


def test_plan_probes_what_was_never_measured_and_leaves_nothing(
    go: Run, fake: Callable[..., Path], tmp_path: Path
) -> None:
    file = fake(blocks=1)
    (tmp_path / "temporary").mkdir()
    assert "stored      0; left to measure: 12" in go("plan", "exp.yaml", "--no-probe").stdout
    text = go("plan", "exp.yaml", TMPDIR=str(tmp_path / "temporary")).stdout
    assert re.search(r"about \d+ s, from a probe of a on this machine", text)
    assert {path.name for path in tmp_path.iterdir()} == {file.name, "temporary"}
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_run_in_pipes_is_plain_lines(go: Run, fake: Callable[..., Path], tmp_path: Path) -> None:
    fake(blocks=1)
    done = go("run", "exp.yaml", FORCE_COLOR="", COLUMNS="100")
    progress = done.stderr.splitlines()
    assert progress[0] == "12 cells"
    counted = [line.partition("]")[0] + "]" for line in progress if line.startswith("[")]
    assert counted == [f"[{number}/12]" for number in range(1, 13)]
    assert "\r" not in done.stderr
    assert "report: results/exp/report.html, results/exp/comparison.md " in done.stdout
    assert all((tmp_path / "results" / "exp" / name).is_file() for name in ("report.html", "comparison.md"))


def test_quiet_prints_nothing(go: Run, there: "subprocess.CompletedProcess[str]") -> None:
    assert (there.stdout, there.stderr) == ("", "")
    done = go("run", "exp.yaml", "-q")
    assert (done.stdout, done.stderr) == ("", "")


def test_report_says_what_the_run_said(go: Run, there: "subprocess.CompletedProcess[str]") -> None:
    told = go("report", "results/exp").stdout
    assert told.strip()
    assert go("run", "exp.yaml").stdout.startswith(told)


def test_report_on_a_folder_without_results(go: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "absent"):
        done = go("report", name, code=2)
        assert done.stdout == ""
        assert done.stderr.splitlines() == [
            f"quantcheck: {name}: not a results folder (no experiment.json); give the folder that a run wrote"]


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"artifacts": {"a": {}}}', '{"artifacts": {"a": {}}, "experiment": {}, "cells": []}'],
    ids=["cut", "list", "empty", "no-experiment", "no-model"],
)
def test_report_on_a_damaged_folder_is_one_line(go: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "experiment.json").write_text(content)
    done = go("report", "bad", code=2)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("quantcheck: bad")


def test_doctor_finds_this_machine_fit(go: Run) -> None:
    text = go("doctor").stdout
    assert text.splitlines()[-1] == "`quantcheck run` works here."
    for name in ("python", "cpu", "cores", "memory", "disk, cache", "llama.cpp", "gpu"):
        assert re.search(rf"^(ok|-|!)\s+{name}\s", text, re.MULTILINE), name


def test_doctor_refuses_a_folder_that_cannot_be_written(go: Run, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    text = go("doctor", code=2, QUANTCHECK_CACHE=str(tmp_path / "locked" / "cache")).stdout
    assert "set QUANTCHECK_CACHE" in text


@pytest.mark.parametrize("what", ["experiment", "summary"])
def test_schemas_are_valid(go: Run, what: str) -> None:
    schema = json.loads(go("schema", what).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]
    if what == "experiment":
        assert json.loads(go("schema").stdout) == schema
        validator = jsonschema.Draft202012Validator(schema)
        for name in presets.names():
            validator.validate({"name": name, **yaml.safe_load(presets.text(name))})
        assert not validator.is_valid({"name": "x", "model": "reference", "baseline": "a", "variants": {}})


def test_a_reader_that_leaves_is_no_failure(tmp_path: Path) -> None:
    """`quantcheck presets gguf-ladder | head -1`, and a reader that takes nothing at all."""
    for args in (["presets", "gguf-ladder"], ["schema", "summary"], ["--help"]):
        command = f"{sys.executable} -m quantcheck {' '.join(args)} | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                              check=False)
        assert (done.stdout, done.stderr) == ("0\n", ""), args
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m quantcheck presets | head -1"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("reference")
    assert done.stderr == ""


def test_without_arguments_the_help_is_shown() -> None:
    done = subprocess.run([sys.executable, "-m", "quantcheck"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "Commands" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "args", [["presets", "nope"], ["schema", "nope"], ["run", "--nope"], ["run", "no.yaml"], ["plan", "gguf-lader"],
             ["report"]],
)
def test_mistakes_end_with_2_and_say_something(go: Run, args: list[str]) -> None:
    done = go(*args, code=2)
    assert done.stdout == ""
    assert done.stderr.strip()
