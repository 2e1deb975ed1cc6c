"""`stop: early` and drawn answers, end to end: the reference model on llama.cpp, as a user runs them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantcheck
from quantcheck import Experiment
from quantcheck.report.summary import TaskRow
from quantcheck.stats.sequential import look_order, paths
from quantcheck.store import Cell, Store

CHOICE, WRITTEN = "reference/knowledge", "reference/arithmetic"


def experiment(*variants: str, **quality: Any) -> Experiment:
    return Experiment.model_validate({
        "name": "exp", "model": "reference", "baseline": "F16",
        "variants": {name: {"scheme": f"gguf/{name}"} for name in ("F16", *variants)},
        "quality": quality, "policy": {"margin": {"accuracy_pp": 3.0}}, "seed": 11,
    })


def cells(out: Path) -> dict[tuple[str, str], Cell]:
    return {(cell.key.variant, cell.key.subject): cell for cell in Store(out).cells()}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TaskRow]]:
    out = tmp_path_factory.mktemp("early") / "out"
    outcome = quantcheck.run(experiment("Q8_0", "Q2_K", suites=[CHOICE], items=500, stop="early"), out)
    return out, outcome.summary.quality


def test_variants_end_early_and_the_baseline_answers_all(stopped: tuple[Path, list[TaskRow]]) -> None:
    out, rows = stopped
    found = cells(out)
    assert {name: len(found[name, CHOICE].table("items")["id"]) for name in ("F16", "F16@again")} \
        == {"F16": 500, "F16@again": 500}
    words = {row.variant: row.word for row in rows}
    assert words == {"Q8_0": "safe", "Q2_K": "harmed"}
    for row in rows:
        record = found[row.variant, CHOICE].record["result"]
        assert row.stopped is not None
        assert row.n == row.stopped.items == record["n"] == record["early"]["items"] < row.stopped.of == 500
        assert row.p is None
        assert max(row.stopped.e_safe, row.stopped.e_harmed) >= 20


def test_the_stop_follows_from_the_items_tables_alone(stopped: tuple[Path, list[TaskRow]]) -> None:
    out, rows = stopped
    found = cells(out)
    base = found["F16", CHOICE].table("items")
    every = sorted(base["id"].tolist())
    order = [every[place] for place in look_order(every, 11)]
    assert base["id"].tolist() == order, "the baseline's table is in the order of looking"
    for row in rows:
        cell = found[row.variant, CHOICE]
        table, record = cell.table("items"), cell.record["result"]["early"]
        n = len(table["id"])
        assert table["id"].tolist() == order[:n]
        safe, harmed = paths(table["right"].astype(float) - base["right"][:n], 0.03)
        threshold = np.log(1 / 0.05)
        first = int(np.flatnonzero((safe >= threshold) | (harmed >= threshold))[0]) + 1
        before = [look[0] for look in record["looks"]][-2] if len(record["looks"]) > 1 else 0
        assert before < first <= n, "it ended at the first look that could end it"
        assert record["word"] == ("safe" if safe[first - 1] >= threshold else "harmed") == row.word


def test_a_second_run_measures_nothing(stopped: tuple[Path, list[TaskRow]]) -> None:
    out, rows = stopped
    again = quantcheck.run(experiment("Q8_0", "Q2_K", suites=[CHOICE], items=500, stop="early"), out)
    assert (again.measured, again.summary.quality) == (0, rows)


def test_drawn_answers_are_the_same_in_every_run(tmp_path: Path) -> None:
    chosen = experiment("Q2_K", suites=[WRITTEN, CHOICE], items=10, sampling={"temperature": 1.0, "draws": 3})
    first = quantcheck.run(chosen, tmp_path / "one").summary
    quantcheck.run(chosen.model_copy(update={"noise_floor": False}), tmp_path / "two")
    ours, theirs = cells(tmp_path / "one"), cells(tmp_path / "two")
    assert len(theirs) == 4
    for name, cell in theirs.items():
        mine, other = ours[name].table("items"), cell.table("items")
        assert all(mine[column].tolist() == other[column].tolist() for column in mine)
        assert len(mine["id"]) == (30 if name[1] == WRITTEN else 10)
    drawn = {name[0]: cell.table("items") for name, cell in ours.items() if name[1] == WRITTEN}
    assert drawn["F16"]["draw"].tolist() == [0, 1, 2] * 10
    answers = drawn["Q2_K"]["output"].reshape(10, 3)
    assert sum(len(set(row.tolist())) > 1 for row in answers) > 5, "draws of one item differ"
    assert drawn["F16"]["output"].tolist() != drawn["F16@again"]["output"].tolist(), "the twin draws for itself"
    rows = {(row.variant, row.task): row for row in first.quality}
    assert rows["Q2_K", WRITTEN].word == "harmed"
    assert rows["Q2_K", WRITTEN].sampled is not None
    assert rows["Q2_K", CHOICE].sampled is None
