"""The Python API, its documentation's example, the pytest plugin, CI's files, and MLflow (a stand-in for it)."""

import contextlib
import json
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import quantcheck
from quantcheck.errors import EngineUnavailable, SpecError
from quantcheck.runner.run import report
from tests.conftest import FAKE
from tests.report import stored_runs, synthetic

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("library") / "run"
    report(stored_runs.written(out, synthetic.experiment(blocks=3), synthetic.cells(3)))
    return out


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_example_of_the_page_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"EXPERIMENT": FAKE % ("", 2), "FOLDER": tmp_path / "results"}
    exec(blocks("library.md", "python")[0], names)  # noqa: S102
    assert "b " in capsys.readouterr().out
    assert set(names["requests"]["variant"]) == {variant for variant, _ in names["counts"]} >= {"a", "b"}
    assert sum(count for _, count in names["counts"]) == len(names["requests"]["variant"]) > 0
    assert names["word"] in ("ship", "do not ship", "inconclusive")


def test_the_gate_takes_a_policy_as_a_mapping(folder: Path) -> None:
    assert quantcheck.gate(folder).word == "ship"
    assert quantcheck.gate(folder, {"memory_gb": 0.05}).word == "do not ship"
    with pytest.raises(SpecError, match="policy: memroy_gb"):
        quantcheck.gate(folder, {"memroy_gb": 1})


def test_the_fixture_fails_a_test_whose_variant_may_not_ship(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(f"""
def test_ships(quantcheck_gate):
    assert quantcheck_gate({str(folder)!r}).word == "ship"

def test_does_not(quantcheck_gate):
    quantcheck_gate({str(folder)!r}, variant="Q2_K")
""")
    # The plugin is found by its entry point.
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", "test_it.py"],
                          cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
                          env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""})
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "Q2_K: do not ship" in done.stdout


def test_the_files_for_ci_are_yaml_and_call_what_there_is() -> None:
    action = yaml.safe_load((ROOT / ".github/actions/gate/action.yml").read_text(encoding="utf-8"))
    step = action["runs"]["steps"][0]
    assert "${{" not in step["run"], "an input in a script is code"
    assert {value[11:-3] for value in step["env"].values()} == set(action["inputs"])
    github, gitlab = (yaml.safe_load(text) for text in blocks("ci.md", "yaml"))
    used = next(step for step in github["jobs"]["gate"]["steps"] if step.get("uses", "").startswith("./"))
    assert (ROOT / used["uses"] / "action.yml").is_file()
    assert set(used["with"]) <= set(action["inputs"])
    assert gitlab["gate"]["artifacts"]["reports"]["junit"] in gitlab["gate"]["script"][1]


@pytest.mark.parametrize("variant", ["", "Q2_K"])
def test_the_action_s_script_ends_as_the_gate_does(folder: Path, tmp_path: Path, variant: str) -> None:
    action = yaml.safe_load((ROOT / ".github/actions/gate/action.yml").read_text(encoding="utf-8"))
    (tmp_path / "quantcheck").write_text(f'#!/bin/sh\nexec {sys.executable} -m quantcheck "$@"\n')
    (tmp_path / "quantcheck").chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src"), "RUN": str(folder), "POLICY": "",
           "VARIANT": variant, "JUNIT": str(tmp_path / "j.xml"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    done = subprocess.run(["bash", "-e", "-c", action["runs"]["steps"][0]["run"]], env=env, check=False, timeout=120)
    assert done.returncode == (1 if variant else 0)
    assert (tmp_path / "summary.md").read_text() == (folder / "comparison.md").read_text()
    assert (tmp_path / "j.xml").exists()


class FakeMlflow(types.ModuleType):
    """Notes what it is told; names as MLflow's own rules allow them."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.runs: dict[str, dict[str, Any]] = {}

    def set_experiment(self, name: str) -> None:
        self.experiment = name

    @contextlib.contextmanager
    def start_run(self, run_name: str) -> Iterator[Any]:
        self.now = self.runs.setdefault(run_name, {"artifacts": []})
        yield types.SimpleNamespace(info=types.SimpleNamespace(run_id=f"id-{run_name}"))

    def log_params(self, params: dict[str, Any]) -> None:
        self.now["params"] = params

    def log_metrics(self, metrics: dict[str, float]) -> None:
        assert all(re.fullmatch(r"[\w./ -]+", name) for name in metrics)
        self.now["metrics"] = metrics

    def set_tags(self, tags: dict[str, str]) -> None:
        self.now["tags"] = tags

    def log_artifact(self, path: str) -> None:
        self.now["artifacts"].append(Path(path).name)


def test_mlflow_gets_what_the_report_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    summary = json.loads((folder / "summary.json").read_text())
    assert quantcheck.log_to_mlflow(folder) == [f"id-{row['name']}" for row in summary["variants"]]
    got = fake.runs["Q2_K"]
    assert got["tags"]["quantcheck.word"] == "do not ship"
    assert got["artifacts"] == ["comparison.md", "summary.json", "report.html"]
    row = next(row for row in summary["speed"] if row["variant"] == "Q2_K" and row["value"]["value"] is not None)
    load = row["load"].replace("@", "-")
    assert got["metrics"][f"{row['metric']}/{load}"] == row["value"]["value"]
    assert got["metrics"][f"{row['metric']}_ratio/{load}_low"] == row["ratio"]["low"]
    task = next(row for row in summary["quality"] if row["variant"] == "Q2_K")
    assert got["metrics"][f"accuracy_change/{task['task']}_high"] == task["delta"]["high"]
    assert not [name for name in got["metrics"] for other in got["metrics"] if other.startswith(f"{name}/")]
    with pytest.raises(SpecError, match="no variant"):
        quantcheck.log_to_mlflow(folder, variant="nope")


def test_without_mlflow_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(EngineUnavailable, match=r"quantcheck\[mlflow\]"):
        quantcheck.log_to_mlflow(folder)
