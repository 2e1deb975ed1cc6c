"""`quantcheck gate` as a CI job calls it: exit codes, files, and one line for a mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from quantcheck.cli.gate import command
from quantcheck.cli.schema import command as schema
from quantcheck.report.schema import gate_schema
from quantcheck.store import CellKey, Store
from tests.report import synthetic


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in a results folder: the report's synthetic one."""
    folder = tmp_path_factory.mktemp("run")
    store = Store(folder)
    store.lock()
    written = [store.write(CellKey(**cell.record["key"]), {"result": cell.record["result"]}, cell.tables)
               for cell in synthetic.cells(3)]  # fmt: skip
    document = {
        "experiment": synthetic.experiment(blocks=3).model_dump(mode="json", by_alias=True),
        "artifacts": synthetic.artifacts(), "cells": [cell.key.id for cell in written], "problems": [],
        "environment": synthetic.ENVIRONMENT,
    }  # fmt: skip
    store.write_document("experiment.json", json.dumps(document))
    store.unlock()
    return folder


def gate(*args: object) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args])


def policy(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    return file


def test_ship_is_0(results: Path) -> None:
    done = gate(results)
    assert (done.exit_code, done.output.splitlines()[0]) == (0, "Q4_K_M: ship")


def test_do_not_ship_is_1(results: Path, tmp_path: Path) -> None:
    done = gate(results, "--variant", "Q2_K")
    assert (done.exit_code, done.output.splitlines()[0]) == (1, "Q2_K: do not ship")
    done = gate(results, "--policy", policy(tmp_path, "memory_gb: 0.05"))
    assert (done.exit_code, done.output.splitlines()[0]) == (1, "do not ship: no variant may ship")


def test_inconclusive_is_2(results: Path, tmp_path: Path) -> None:
    done = gate(results, "--policy", policy(tmp_path, "margin: {accuracy_pp: 0.05}"), "--variant", "Q4_K_M")
    assert (done.exit_code, done.output.splitlines()[0]) == (2, "Q4_K_M: inconclusive")
    assert "  open     quality:reference/format: loss of accuracy below 0.05 pp; inconclusive: " in done.output


def test_nothing_is_written_but_what_is_named(results: Path, tmp_path: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in results.rglob("*"))
    junit, result = tmp_path / "gate.xml", tmp_path / "gate.json"
    done = gate(results, "--policy", policy(tmp_path, "memory_gb: 0.05"), "--junit", junit, "--json", result)
    assert done.exit_code == 1
    assert sorted((path, path.stat().st_mtime_ns) for path in results.rglob("*")) == before
    suites = [suite.get("name") for suite in ElementTree.parse(junit).getroot()]
    assert suites == [f"{name} against F16" for name in ("Q8_0", "Q4_K_M", "Q2_K")]
    document = json.loads(result.read_text())
    assert (document["word"], document["exit_code"], document["variant"]) == ("do not ship", 1, None)
    assert document["policy"] == str(tmp_path / "p.yaml")


def test_the_policys_slo_takes_the_place_of_the_loads(results: Path, tmp_path: Path) -> None:
    done = gate(results, "--policy", policy(tmp_path, "slo: {ttft_ms: 10000}"))
    assert done.exit_code == 0
    assert "slo:short: SLO (TTFT 10000 ms; 95% of requests) at some measured load; up to 8 streams" in done.output


def test_mistakes_end_with_2_and_one_line(results: Path, tmp_path: Path) -> None:
    unfit = policy(tmp_path, "price: {gpu_hour_usd: 1, gpus: {Q5_K_M: 2}}")
    for args, message in [
        ((results, "--policy", unfit), f"{unfit}: does not fit the run in {results}: policy.price.gpus: 'Q5_K_M' is"),
        ((tmp_path / "nowhere",), "not a results folder"),
        ((results, "--variant", "Q5_K_M"), "--variant Q5_K_M: is no variant here; give one of: Q8_0, Q4_K_M, Q2_K"),
        ((results, "--json", tmp_path / "none" / "x.json"), "cannot be written"),
    ]:
        done = subprocess.run([sys.executable, "-m", "quantcheck", "gate", *map(str, args)], capture_output=True,
                              text=True, check=False, env=os.environ)  # fmt: skip
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert message in done.stderr


def test_the_schema_of_the_json_can_be_printed() -> None:
    printed = CliRunner().invoke(schema, ["gate"])
    assert json.loads(printed.output) == gate_schema()
