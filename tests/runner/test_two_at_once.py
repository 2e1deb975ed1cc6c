"""Two runs begin on one results folder at the same moment: one measures, the other is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from quantcheck.store import Store

TRIES = 10
PROGRAM = Path(__file__).with_name("two_at_once.py")


@pytest.mark.slow
def test_they_are_never_mixed(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), str(tmp_path), str(TRIES)], capture_output=True, text=True,
                          timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    refused = 0
    for number in range(TRIES):
        outcomes = [json.loads((tmp_path / f"said-{number}-{which}").read_text()) for which in "ab"]
        refusals = [outcome for outcome in outcomes if isinstance(outcome, str)]
        # One may have been done before the other asked: that one then finds all cells stored.
        assert sum(outcome for outcome in outcomes if isinstance(outcome, int)) == 2, outcomes
        assert all("another quantcheck is writing here" in words for words in refusals)
        refused += len(refusals)
        out = tmp_path / f"out-{number}"
        store = Store(out)
        assert len([cell.key for cell in store.cells()]) == 2
        assert store.damaged() == {}
        assert not store.locked()
        assert {path.name for path in out.iterdir()} == {
            ".lock", "cells", "logs", "experiment.json", "summary.json", "comparison.md", "report.html"}
    assert refused, "they were never there at the same time"
