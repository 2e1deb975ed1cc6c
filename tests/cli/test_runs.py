"""`quantcheck runs`: what is listed, what may be removed, and what an export holds."""

import csv
import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner, Result

from quantcheck.cli.runs import command
from quantcheck.errors import QuantcheckError, SpecError, StoreError
from quantcheck.report.listing import list_runs, select
from quantcheck.report.stored import read_run
from quantcheck.runner.run import report
from quantcheck.store import CellKey, Store
from tests.report import stored_runs, synthetic


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, one with a report; a third folder is none."""
    folder = tmp_path_factory.mktemp("made")
    store = stored_runs.written(folder / "two", synthetic.experiment(blocks=3), synthetic.cells(3))
    shutil.copytree(folder / "two", folder / "one")
    report(store)
    (folder / "other").mkdir()
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "r")


def runs(*args: object) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args])


def failure(done: Result) -> str:
    assert isinstance(done.exception, QuantcheckError), done.output
    return str(done.exception)


def test_the_list_says_what_is_stored(folder: Path) -> None:
    one, two = json.loads(runs(folder, "--json").output)
    assert (one["name"], two["name"]) == ("one", "two")
    assert one["stored"] == len(list((folder / "one" / "cells").iterdir()))
    assert one["sentence"] is None
    assert two["sentence"] == json.loads((folder / "two" / "summary.json").read_text())["recommendation"]["sentence"]
    assert two["state"] == "finished"
    text = runs(folder).output
    assert two["sentence"] in text
    assert two["machine"] in text


def test_filters_all_hold(folder: Path) -> None:
    lines = list_runs([folder])
    assert [line.name for line in select(lines, ["name=t*"])] == ["two"]
    assert select(lines, ["name=t*", "state=running"]) == []
    for wrong in ("nmae=x", "name"):
        with pytest.raises(SpecError, match="KEY one of name"):
            select(lines, [wrong])


def test_an_unreadable_run_is_listed_with_its_reason(folder: Path) -> None:
    (folder / "one" / "experiment.json").write_text("{")
    done = runs(folder)
    assert done.exit_code == 0
    assert "unreadable" in done.output
    assert "cannot be read" in done.output


def test_prune_tells_first_and_keeps_what_a_report_needs(folder: Path) -> None:
    store = Store(folder / "two")
    store.lock()
    stale = store.write(CellKey("load", "gone", "s@c1", 0, "9" * 64), {"result": {}}, {"t": {"x": np.zeros(3)}})
    store.unlock()
    (folder / "two" / "work" / "big").write_bytes(b"x" * 5000)
    kept = {path.name for path in (folder / "two" / "cells").iterdir()} - {stale.folder.name}
    told = runs("prune", folder, "--filter", "name=two")
    assert stale.folder.exists()
    assert int(told.output.rsplit(" bytes would be removed", 1)[0].splitlines()[-1].replace(",", "")) > 5000
    before = (folder / "two" / "summary.json").read_bytes()
    assert runs("prune", folder, "--filter", "name=two", "--yes").exit_code == 0
    assert {path.name for path in (folder / "two" / "cells").iterdir()} == kept
    assert not (folder / "two" / "work").exists()
    assert len(read_run(store).cells) == len(kept)
    assert (folder / "two" / "summary.json").read_bytes() == before


def test_prune_whole_needs_a_filter_and_leaves_foreign_files(folder: Path) -> None:
    assert "--filter" in failure(runs("prune", folder, "--whole", "--yes"))
    (folder / "two" / "notes.txt").write_text("mine")
    assert runs("prune", folder, "--whole", "--filter", "name=*", "--yes").exit_code == 0
    assert not (folder / "one").exists()
    assert [path.name for path in (folder / "two").iterdir()] == ["notes.txt"]


def test_a_running_run_is_left_alone(folder: Path) -> None:
    store = Store(folder / "two")
    store.lock()
    done = runs("prune", folder, "--whole", "--filter", "name=two", "--yes")
    assert "running, left alone" in done.output
    assert (folder / "two" / "experiment.json").exists()
    store.unlock()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_an_export_has_every_row_of_every_cell(folder: Path, tmp_path: Path, kind: str) -> None:
    to = tmp_path / f"it's.{kind}"
    done = runs("export", folder / "two", "--to", to, "--table", "items")
    assert done.exit_code == 0, done.exception
    cells = [cell for cell in Store(folder / "two").cells() if (cell.folder / "items.parquet").exists()]
    rows = sum(len(next(iter(cell.table("items").values()))) for cell in cells)
    if kind == "csv":
        with to.open() as file:
            read = list(csv.DictReader(file))
        assert {row["variant"] for row in read} == {cell.key.variant for cell in cells}
    else:
        read = duckdb.read_parquet(str(to)).fetchall()
    assert len(read) == rows > 0
    assert f"{rows:,} rows" in done.output


def test_an_export_that_cannot_be_is_one_line(folder: Path, tmp_path: Path) -> None:
    assert ".parquet or .csv" in failure(runs("export", folder / "two", "--to", tmp_path / "x.xls"))
    assert "there are:" in failure(runs("export", folder / "two", "--to", tmp_path / "x.csv", "--table", "nothing"))
    full = failure(runs("export", folder / "two", "--to", tmp_path / "no" / "x.csv", "--table", "items"))
    assert "cannot be written" in full
    assert isinstance(runs("nowhere").exception, StoreError)
