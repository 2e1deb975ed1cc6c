"""What the page is given is what `quantcheck report` and `quantcheck compare` say."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from quantcheck.dashboard.job import answer
from quantcheck.errors import QuantcheckError, StoreError
from quantcheck.report.compare import compare_runs
from quantcheck.report.comparison import RunComparison
from quantcheck.report.stored import read_run
from quantcheck.report.summary import Summary
from quantcheck.store import Store


def summary(folder: Path, *, running: bool = False) -> Summary:
    return Summary.model_validate_json(answer({"summary": str(folder), "running": running}))


def compared(a: Path, b: Path, **more: object) -> RunComparison:
    asked = {"a": str(a), "b": str(b), "of": None, "with": None, "force": False}
    return RunComparison.model_validate_json(answer({**asked, **more}))


@pytest.mark.parametrize("name", ["whole", "half"])
def test_a_summary_is_made_from_the_stored_cells(results: Path, name: str) -> None:
    found = summary(results / name)
    assert found == read_run(Store(results / name), unfinished=True).summary()
    assert found.cells is not None
    assert found.cells.finished is (name == "whole")


def test_of_a_finished_run_its_own_summary_is_taken(results: Path) -> None:
    written = read_run(Store(results / "whole")).summary()
    told = written.model_copy(update={"headline": written.headline.model_copy(update={"sentence": "As written."})})
    (results / "whole/summary.json").write_text(told.model_dump_json())
    assert summary(results / "whole").headline.sentence == "As written."
    assert summary(results / "whole", running=True).headline.sentence != "As written.", "a run goes on here"
    (results / "whole/summary.json").write_text('{"schema_version": 1}')
    assert summary(results / "whole") == written


def test_a_report_without_its_cells_is_shown_but_not_compared(results: Path) -> None:
    folder = results / "again"
    made = summary(folder)
    (folder / "summary.json").write_text(made.model_dump_json())
    shutil.rmtree(folder / "cells")
    assert summary(folder) == made
    with pytest.raises(StoreError, match="its cells are not in the folder"):
        compared(results / "whole", folder)
    (folder / "summary.json").write_text("{}")
    with pytest.raises(StoreError, match="cannot be read by this version, and no cells are stored beside it"):
        summary(folder)


def test_a_comparison_is_that_of_quantcheck_compare(results: Path) -> None:
    a, b = results / "whole", results / "again"
    expected = compare_runs(read_run(Store(a)), read_run(Store(b)), variants=("Q8_0", "Q2_K"))
    assert compared(a, b, **{"of": "Q8_0", "with": "Q2_K"}) == expected


def test_what_cannot_be_compared_says_why(results: Path) -> None:
    with pytest.raises(QuantcheckError, match="no finished run is stored here"):
        compared(results / "whole", results / "half")


def test_a_document_can_be_made_when_other_modules_lie_about(
    results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the server starts it: what lies in the working folder is not imported."""
    import subprocess

    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working folder')")
    request = json.dumps({"summary": str(results / "broken"), "running": False, "measuring": True})
    done = subprocess.run([sys.executable, "-P", "-m", "quantcheck.dashboard.job", request], cwd=tmp_path,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert str(results / "broken") in json.loads(done.stdout)["reason"]
