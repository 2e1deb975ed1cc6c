"""Folders of runs for the dashboard: finished, stopped, and such as are none."""

import json
import shutil
from pathlib import Path

import pytest

from quantcheck.store import CellKey, Store
from tests.report import synthetic
from tests.report.stored_runs import written

BROKEN = '{"schema": 1, "exper'
EXPERIMENT = synthetic.experiment(quality=None, blocks=2)
CELLS = synthetic.cells(2, quality=False)


def store_cell(store: Store, position: int) -> CellKey:
    """Store one of `CELLS`, as a run does."""
    cell = CELLS[position]
    key = CellKey(**cell.record["key"])
    store.write(key, {k: v for k, v in cell.record.items() if k not in ("schema", "key")}, cell.tables)
    return key


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """`whole` and its copy `again`, `half` (the first block), `deep/whole`, a broken and a foreign folder."""
    folder = tmp_path / "results"
    written(folder / "whole", EXPERIMENT, CELLS)
    for name in ("again", "deep/whole"):
        shutil.copytree(folder / "whole", folder / name)
    written(folder / "half", EXPERIMENT, [c for c in CELLS if c.record["key"]["block"] == 0], finished=False)
    for name, text in (("broken", BROKEN), ("foreign", json.dumps({"experiment": {"lr": 0.1}}))):
        (folder / name).mkdir()
        (folder / name / "experiment.json").write_text(text)
    return folder
