"""Runs are found and followed by names and times alone."""

import json
import shutil
from pathlib import Path

from quantcheck.report.cells import planned_cells
from quantcheck.report.runs import Run, find_runs
from tests.dashboard.conftest import CELLS, EXPERIMENT, store_cell
from tests.report.stored_runs import written


def test_runs_are_found_below_a_folder(results: Path) -> None:
    (results / ".trash").mkdir()
    shutil.copy(results / "whole/experiment.json", results / ".trash")
    (results / "link").symlink_to(results / "whole")
    assert sorted(find_runs([results])) == ["again", "broken", "deep/whole", "foreign", "half", "whole"]
    assert find_runs([results])["deep/whole"] == results / "deep/whole"


def test_a_run_itself_may_be_given_and_several_folders(results: Path) -> None:
    assert find_runs([results / "half"]) == {"half": results / "half"}
    two = find_runs([results / "deep", results / "whole", results])
    assert sorted(two.values())[:2] == [results / "again", results / "broken"]
    assert all(name == str(root) for name, root in two.items())
    assert len(two) == 6, "no run twice"


def test_where_runs_stand(results: Path) -> None:
    states = {name: Run(name, root).look() for name, root in find_runs([results]).items()}
    assert {name: (state.word, state.stored, len(state.cells)) for name, state in states.items()} == {
        "whole": ("finished", 20, 20), "again": ("finished", 20, 20), "deep/whole": ("finished", 20, 20),
        "half": ("stopped", 10, 20), "broken": ("unreadable", 0, 0), "foreign": ("unreadable", 0, 0)}
    for name in ("broken", "foreign"):
        assert states[name].reason
        assert str(results / name) in str(states[name].reason)


def test_the_cells_are_those_that_the_experiment_asks_for(results: Path) -> None:
    cells = Run("half", results / "half").look().cells
    assert {("load", c.variant, c.subject, c.block) for c in cells} == planned_cells(EXPERIMENT)
    assert {c.block for c in cells if c.at is not None} == {0}
    assert [c.block for c in cells] == sorted(c.block for c in cells), "in the order in which they are measured"


def test_cells_of_an_older_plan_do_not_count(tmp_path: Path) -> None:
    store = written(tmp_path, EXPERIMENT, CELLS[:4], finished=False, planned=["F16.short@c1.b0-eeeeeeeeeeee"])
    state = Run("run", store.root).look()
    assert [(c.variant, c.subject, c.block, c.at) for c in state.cells] == [("F16", "short@c1", 0, None)]


def test_a_run_that_goes_on_is_seen_by_its_lock_and_tells_what_it_does(results: Path) -> None:
    run = Run("half", results / "half")
    store = written(results / "half", EXPERIMENT, [], finished=False)
    idle = run.look()
    assert (idle.word, idle.now) == ("stopped", None)
    store.lock()
    (store.work / "progress.json").write_text(json.dumps({"doing": "starting"}))
    running = run.look()
    assert (running.word, running.now) == ("running", {"doing": "starting"})
    assert running.version != idle.version
    store.unlock()
    assert run.look() == idle


def test_every_new_cell_changes_the_version(results: Path) -> None:
    run, store = Run("half", results / "half"), written(results / "half", EXPERIMENT, [], finished=False)
    seen = [run.look()]
    for position, cell in enumerate(CELLS):
        if cell.record["key"]["block"] == 1:
            store_cell(store, position)
            seen.append(run.look())
    assert [state.stored for state in seen] == list(range(10, 21))
    assert len({state.version for state in seen}) == len(seen)


def test_a_folder_that_is_mended_is_read_again(results: Path) -> None:
    run = Run("broken", results / "broken")
    assert run.look().word == "unreadable"
    shutil.copy(results / "half/experiment.json", results / "broken/experiment.json")
    assert run.look().word == "stopped"


def test_what_cannot_be_parsed_is_unreadable_and_nothing_worse(results: Path) -> None:
    file = results / "foreign/experiment.json"
    whole = json.loads((results / "whole/experiment.json").read_text())
    for text in ("[" * 100_000, "\x00", "[]", json.dumps({**whole, "cells": 3}), json.dumps({**whole, "planned": {}})):
        file.write_text(text)
        state = Run("foreign", results / "foreign").look()
        assert state.word == "unreadable"
        assert state.reason
    file.write_text(json.dumps({**whole, "planned": [{}, None, 3, "x"]}))
    assert Run("foreign", results / "foreign").look().stored == 0
