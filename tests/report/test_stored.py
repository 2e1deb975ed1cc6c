"""A stored run under another policy, and one that did not come to its end."""

import json
from pathlib import Path

import pytest

from quantcheck.errors import SpecError, StoreError
from quantcheck.report.cells import planned_cells
from quantcheck.report.stored import StoredRun, read_run
from quantcheck.runner.plan import make_plan
from quantcheck.runner.run import report
from quantcheck.spec.load import SLO
from quantcheck.spec.policy import Margin, Policy
from quantcheck.store import CellKey, Store
from tests.report import synthetic
from tests.report.stored_runs import written

LOAD = {
    "workloads": {"short": {"prompt_tokens": 32, "output_tokens": 32}}, "concurrency": [1, 8], "slo": {"ttft_ms": 50},
}  # fmt: skip


def stored(folder: Path) -> StoredRun:
    experiment = synthetic.experiment(load=LOAD, policy={"memory_gb": 1})
    return StoredRun(Store(folder), {"artifacts": synthetic.artifacts()}, experiment, ())


def test_a_policy_takes_the_place_of_the_experiments_whole(tmp_path: Path) -> None:
    run = stored(tmp_path).under(Policy(minimum_speedup=1.2), "p.yaml")
    assert (run.experiment.policy.memory_gb, run.experiment.policy.minimum_speedup) == (None, 1.2)
    assert run.experiment.slo == SLO(ttft_ms=50)


def test_its_slo_takes_the_place_of_the_loads(tmp_path: Path) -> None:
    assert stored(tmp_path).under(Policy(slo=SLO(e2e_ms=900)), "p.yaml").experiment.slo == SLO(e2e_ms=900)


def test_a_policy_for_another_experiment_is_refused(tmp_path: Path) -> None:
    message = "p.yaml: does not fit the run in .*: policy.margin.tasks: 'gsm8k' is no suite of this experiment"
    with pytest.raises(SpecError, match=message):
        stored(tmp_path).under(Policy(margin=Margin(tasks={"gsm8k": 1.0})), "p.yaml")


def half(folder: Path, **more: object) -> Store:
    """The first of five blocks of a run of speed, ended there."""
    cells = [cell for cell in synthetic.cells(quality=False) if cell.record["key"]["block"] == 0]
    return written(folder, synthetic.experiment(quality=None), cells, finished=False, **more)


def test_an_unfinished_run_is_read_only_where_that_is_asked_for(tmp_path: Path) -> None:
    store = half(tmp_path)
    with pytest.raises(StoreError, match="no finished run is stored here"):
        read_run(store)
    run = read_run(store, unfinished=True)
    assert (run.finished, len(run.cells), run.artifacts) == (False, 10, {})


def test_a_finished_run_is_read_as_one_either_way(tmp_path: Path) -> None:
    store = written(tmp_path, synthetic.experiment(quality=None), synthetic.cells(quality=False))
    assert read_run(store, unfinished=True) == read_run(store)
    assert read_run(store).summary().headline.sentence.startswith("Q8_0: ")


def test_the_report_of_an_unfinished_run_says_how_much_of_it_there_is(tmp_path: Path) -> None:
    summary = report(half(tmp_path))
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert "**Not finished (10 of 50 cells); Q8_0: " in text
    assert "> **Warning:** 10 of 50 cells are stored: the run was interrupted" in text
    assert "- Q8_0: 4 of 5 blocks of every load: no result stored" in text
    assert summary.recommendation.variant is None
    assert next(row for row in summary.speed if row.variant == "Q8_0").ratio.value is not None


def test_cells_that_a_run_noted_as_its_own_are_taken_alone(tmp_path: Path) -> None:
    names = [cell.folder.name for cell in half(tmp_path).cells()]
    run = read_run(half(tmp_path / "other", planned=[*names[:3], "not-measured-yet"]), unfinished=True)
    assert [cell.folder.name for cell in run.cells] == names[:3]
    assert run.problems == []


def test_planned_cells_that_came_since_the_run_ended_count(tmp_path: Path) -> None:
    names = [cell.folder.name for cell in half(tmp_path).cells()]
    store = half(tmp_path / "other", planned=names)
    store.lock()
    document = store.read_document("experiment.json") or {}
    store.write_document("experiment.json", json.dumps(document | {"cells": names[:3]}))
    store.unlock()
    run = read_run(store)  # as `runs pull` leaves it, which brings cells and not the documents
    assert (run.finished, sorted(cell.folder.name for cell in run.cells)) == (True, sorted(names))


def test_cells_found_by_name_are_said_to_be_and_what_is_not_clear_is_left_out(tmp_path: Path) -> None:
    store = half(tmp_path)
    cell = next(cell for cell in store.cells() if cell.key.variant == "Q8_0")
    twin = CellKey(**{**cell.record["key"], "digest": "e" * 64})
    stray = CellKey(**{**cell.record["key"], "variant": "Q5_K_M"})
    store.lock()
    for key in (twin, stray):
        store.write(key, {"result": cell.record["result"]}, {"requests": cell.table("requests")})
    store.unlock()
    run = read_run(store, unfinished=True)
    assert len(run.cells) == 9
    assert cell.folder.name not in {one.folder.name for one in run.cells}
    told = {(item.what, item.reason) for item in run.summary().not_measured}
    assert any(what == "run" and "found by name" in reason for what, reason in told)
    assert any(f"Q8_0: {cell.key.subject}" == what and "several cells are stored" in reason for what, reason in told)


def test_a_run_without_a_cell_cannot_be_reported(tmp_path: Path) -> None:
    store = written(tmp_path, synthetic.experiment(quality=None), [], finished=False)
    with pytest.raises(StoreError, match="no cell of this run is stored yet; go on with `quantcheck run`"):
        report(store)


@pytest.mark.parametrize("changes", [{}, {"noise_floor": False}, {"quality": None}, {"load": None}, {"blocks": 1}])
def test_the_cells_that_are_counted_are_those_of_the_plan(changes: dict[str, object]) -> None:
    experiment = synthetic.experiment(**changes)
    steps = make_plan(experiment).tasks()
    assert planned_cells(experiment) == {(task.kind, task.entry, task.subject, task.block) for task in steps}
