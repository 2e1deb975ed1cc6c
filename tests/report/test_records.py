"""Every row names the cells that its figures come from, and the client's own lateness."""

from pathlib import Path

from quantcheck.report.cells import CellIndex
from quantcheck.report.gpu_memory import gpu_memory_rows
from quantcheck.report.speed import load_row
from quantcheck.report.stored import read_run
from tests.report import synthetic
from tests.report.stored_runs import written


def test_every_cell_that_a_row_names_is_in_the_store(tmp_path: Path) -> None:
    store = written(tmp_path, synthetic.experiment(), synthetic.cells(blocks=2))
    summary = read_run(store).summary()
    lists = [row.cells for row in summary.loads] + [row.cells for row in summary.quality]
    lists += [row.cells for row in summary.corpora] + [row.cells for row in summary.blocks]
    named = {cell for cells in lists for cell in cells}
    assert named == {cell.folder.name for cell in store.cells() if not _in_no_chart(cell.folder.name)}
    assert all(len(row.cells) == row.blocks for row in summary.loads)
    assert {row.cells[1].split(".")[0] for row in summary.quality} == {"F16"}


def _in_no_chart(name: str) -> bool:
    """The noise floor's quality is in `noise_floor`, and continuations in tables: no points of any chart."""
    return name.startswith("F16@again.reference") or ".continuations." in name


def test_the_split_of_a_gpu_names_its_window() -> None:
    cells = synthetic.on_gpu([synthetic.load_cell("F16", "short@c8", block) for block in range(3)])
    row = gpu_memory_rows(CellIndex(synthetic.experiment(quality=None), cells, []))[0]
    assert row.cell == "F16.short@c8.b2-dddddddddddd"  # most is in use in the last


def test_a_load_tells_how_late_the_client_was_and_whether_it_settled() -> None:
    cells = [synthetic.load_cell("F16", "short@c8", block) for block in range(3)]
    for cell, lag in zip(cells, (0.001, 0.004, 0.002), strict=True):
        cell.record["result"] |= {"rate": 4.0, "window": {"steady": lag < 0.004},
                                  "client": {"schedule_lag": {"p50": 0.0, "p99": lag}, "read_lag": None}}
        cell.tables["requests"]["due_s"] = cell.tables["requests"]["sent_s"]
    row = load_row(CellIndex(synthetic.experiment(quality=None), cells, []), "F16", "short@c8")
    assert (row.schedule_lag.value, row.saturated) == (0.004, 1)
    assert row.read_lag.reason == "the client does not tell"


def test_a_closed_loop_has_no_schedule_and_does_not_saturate() -> None:
    cell = synthetic.load_cell("F16", "short@c8", 0)
    cell.record["result"] |= {"rate": None, "window": {"steady": False}, "client": {"schedule_lag": None}}
    row = load_row(CellIndex(synthetic.experiment(quality=None), [cell], []), "F16", "short@c8")
    assert row.schedule_lag.reason == "closed loop: nothing is sent by a schedule"
    assert row.saturated == 0
