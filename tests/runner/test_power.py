"""What `plan` says before anything is run: from earlier runs where there are some, else from a stated assumption."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcheck.report.terminal import render_parts
from quantcheck.runner.estimate import Estimate, estimate
from quantcheck.runner.pilot import ASSUMED_PSI, Pilot
from quantcheck.runner.plan import make_plan
from quantcheck.runner.power import power_of
from quantcheck.runner.power_grids import power_grids, power_notes
from quantcheck.spec.experiment import Experiment
from quantcheck.stats import judge_speed, ratio_interval
from quantcheck.store import Store
from tests.report import synthetic
from tests.report.stored_runs import written
from tests.report.synthetic import FakeCell

TASK = "reference/arithmetic"
CORPUS = "reference/documentation"


def experiment(**changes: Any) -> Experiment:
    return synthetic.experiment(**{"quality": {"suites": [TASK, CORPUS], "tokens": 4_096}, **changes})


def task_cell(variant: str, lost: int, gained: int, items: int = 1_000) -> FakeCell:
    """700 right answers of the baseline, of which `lost` are not the variant's, and `gained` more."""
    base = np.arange(items) < 700
    right = base.copy()
    right[:lost] = False
    right[700 : 700 + gained] = True
    cell = synthetic.task_cell("F16", TASK, items=items)
    cell.record["key"] = synthetic.key("quality", variant, TASK)
    cell.tables["items"]["right"] = right if variant != "F16" else base
    return cell


def quality_cells(*flips: tuple[str, int, int]) -> list[FakeCell]:
    return [task_cell("F16", 0, 0), *(task_cell(name, lost, gained) for name, lost, gained in flips)]


def speed_cells(blocks: int = 5) -> list[FakeCell]:
    return [synthetic.load_cell(name, load, block) for name in ("F16", "F16@again", "Q8_0") for load in synthetic.LOADS
            for block in range(blocks)]


def test_without_any_run_the_assumption_is_said(tmp_path: Path) -> None:
    power = power_of(make_plan(experiment()), Pilot(experiment(), Store(tmp_path / "results" / "new")))
    (task,), (corpus,) = power.tasks, power.corpora
    assert (task.psi, task.basis, task.variant) == (ASSUMED_PSI, "assumed", None)
    assert task.items == 1_000
    assert task.detectable == pytest.approx(2.8016 * math.sqrt(0.1 / 1_000), rel=1e-3)
    assert task.needed == math.ceil(0.1 * (1.644854 + 0.841621) ** 2 / 0.01**2)
    assert task.early is None
    assert (corpus.units, corpus.detectable, corpus.needed) == (None, None, None)
    assert [row.load for row in power.loads] == ["short@c1", "short@c8", "all loads"]
    assert {(row.spread, row.needed, row.basis) for row in power.loads} == {
        (None, None, "no run of two or more blocks on this machine")}
    assert any("stated guess" in note for note in power_notes(power))


def test_flips_come_from_the_cells_stored_here(tmp_path: Path) -> None:
    store = written(tmp_path / "mine", experiment(), quality_cells(("Q8_0", 9, 10), ("Q4_K_M", 20, 15)))
    found = Pilot(experiment(), store).flipping(TASK)
    assert (found.psi, found.basis, found.variant) == (36 / 1_002, "here", "Q4_K_M")


def test_a_variant_that_lost_needs_no_plan_unless_all_lost(tmp_path: Path) -> None:
    store = written(tmp_path / "mine", experiment(), quality_cells(("Q8_0", 9, 10), ("Q2_K", 400, 0)))
    assert Pilot(experiment(), store).flipping(TASK).variant == "Q8_0"
    store = written(tmp_path / "other" / "mine", experiment(), quality_cells(("Q4_K_M", 100, 0), ("Q2_K", 400, 0)))
    assert Pilot(experiment(), store).flipping(TASK).variant == "Q4_K_M"


def test_else_from_the_nearest_run_beside_it(tmp_path: Path) -> None:
    old = written(tmp_path / "old", experiment(), quality_cells(("Q8_0", 9, 10)))
    written(tmp_path / "new", experiment(model="reference"), quality_cells(("Q8_0", 3, 4)))
    written(tmp_path / "alien", experiment(model="another"), quality_cells(("Q8_0", 40, 41)))
    os.utime(old.root / "experiment.json", (1, 1))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "experiment.json").write_text("{")
    asked = Pilot(experiment(), Store(tmp_path / "planned")).flipping(TASK)
    assert (asked.basis, asked.psi) == ("new", 8 / 1_002)
    asked = Pilot(experiment(model="another"), Store(tmp_path / "planned")).flipping(TASK)
    assert (asked.basis, asked.psi) == ("alien", 82 / 1_002)


def test_blocks_come_from_this_machine_only(tmp_path: Path) -> None:
    written(tmp_path / "here", experiment(), speed_cells())
    plan = make_plan(experiment())
    rows = {row.load: row for row in power_of(plan, Pilot(experiment(), Store(tmp_path / "planned"))).loads}
    assert {row.basis for row in rows.values()} == {"here"}  # the folder's name, by chance that of the word
    assert rows["short@c1"].freedom == 4
    assert 0.01 < (rows["short@c1"].spread or 0) < 0.06
    assert rows["all loads"].needed is not None
    written(tmp_path / "there" / "other", experiment(), speed_cells(), hardware_id="feedfeedfeedfeed")
    away = power_of(plan, Pilot(experiment(), Store(tmp_path / "there" / "planned"))).loads
    assert {row.spread for row in away} == {None}


def test_a_load_that_was_never_measured_is_planned_from_others(tmp_path: Path) -> None:
    store = written(tmp_path / "mine", experiment(), speed_cells())
    load = {"workloads": {"short": {"prompt_tokens": 32, "output_tokens": 32}}, "concurrency": [1, 64]}
    wider = experiment(load=load)
    rows = {row.load: row for row in power_of(make_plan(wider), Pilot(wider, store)).loads}
    assert rows["short@c1"].basis == "here"
    assert rows["short@c64"].basis == "here, other loads"
    assert rows["short@c64"].freedom == 2 * 4


def test_the_planned_blocks_settle_two_equal_variants(tmp_path: Path) -> None:
    """The plan made from a stored run of five blocks, then that many blocks of the same spread, many times over."""
    store = written(tmp_path / "mine", experiment(), speed_cells())
    row = power_of(make_plan(experiment()), Pilot(experiment(), store)).loads[0]
    assert row.needed is not None
    assert row.spread is not None
    logs = np.random.default_rng(3).normal(0, row.spread, (1_000, row.needed))
    words = [judge_speed(ratio_interval(one), higher_is_better=True, margin=row.margin).word for one in logs]
    assert words.count("no detectable difference") / len(words) >= 0.8


def test_texts_scale_with_their_tokens(tmp_path: Path) -> None:
    cells = [synthetic.corpus_cell(name, CORPUS) for name in ("F16", "Q8_0", "Q2_K")]
    tokens = cells[0].record["result"]["tokens"]
    store = written(tmp_path / "mine", experiment(), cells)
    row = power_of(make_plan(experiment()), Pilot(experiment(), store)).corpora[0]
    assert row.units == round(4_096 / tokens * 40)
    assert row.detectable is not None
    assert 1 < row.detectable < 1.01, "of Q8_0: a loss beyond the margin is shown of Q2_K"


@pytest.mark.parametrize(("stop", "expected"), [("never", False), ("early", True)])
def test_early_stop_tells_the_items_it_expects(tmp_path: Path, stop: str, expected: bool) -> None:
    chosen = experiment(quality={"suites": [TASK], "stop": stop}, policy={"margin": {"accuracy_pp": 5}})
    (row,) = power_of(make_plan(chosen), Pilot(chosen, Store(tmp_path / "x"))).tasks
    assert (row.early is not None) == expected
    if row.early is not None:
        assert 50 < row.early < 1_000


def test_margins_of_single_tasks_count(tmp_path: Path) -> None:
    chosen = experiment(policy={"margin": {"tasks": {TASK: 3}}})
    (row,) = power_of(make_plan(chosen), Pilot(chosen, Store(tmp_path / "x"))).tasks
    assert row.margin == 0.03
    assert row.needed == math.ceil(0.1 * (1.644854 + 0.841621) ** 2 / 0.03**2)


def priced(folder: Path, cells: list[FakeCell], **price: Any) -> Estimate:
    chosen = synthetic.experiment(
        quality=None, noise_floor=False, blocks=2, policy={"price": {"gpu_hour_usd": 3.6, **price}},
        load={"workloads": {"short": {"prompt_tokens": 32, "output_tokens": 32}}, "concurrency": [1]})  # fmt: skip
    return estimate(chosen, written(folder, chosen, cells), allow_probe=False)


def test_money_follows_the_time_and_each_variants_price(tmp_path: Path) -> None:
    cells = [synthetic.load_cell("F16", "short@c1", 0), synthetic.load_cell("Q8_0", "short@c1", 0)]
    for cell in cells:
        cell.record["duration_s"] = 90.0
        cell.record["result"]["ready_s"] = 10.0
    found = priced(tmp_path / "one", cells)  # four variants, two blocks, one load: 10 s and 90 s each
    assert (found.seconds, found.all_seconds) == (600.0, 800.0)
    assert (found.usd, found.all_usd) == (pytest.approx(0.6), pytest.approx(0.8))
    assert any("about $0.60 for what is left, about $0.80 for all cells, at $3.60 an hour" in line
               and "assumed" in line for line in found.lines())
    wide = priced(tmp_path / "two", cells, gpus={"F16": 4})
    assert wide.all_usd == pytest.approx(0.8 + 2 * 3 * 0.1)
    document = json.loads(json.dumps(found.document()))
    assert (document["stored"], document["cells"], document["all_usd"]) == (2, 8, pytest.approx(0.8))


def test_without_a_known_time_money_is_unknown_and_without_a_price_not_asked(tmp_path: Path) -> None:
    assert [line for line in priced(tmp_path / "one", []).lines() if line.startswith("money")] == [
        "money       unknown, as the time is"]
    plain = estimate(experiment(), Store(tmp_path / "two"), allow_probe=False)
    assert not [line for line in plain.lines() if line.startswith("money")]
    assert plain.all_usd is None


def test_tables_fit_a_hundred_columns(tmp_path: Path) -> None:
    cells = quality_cells(("Q8_0", 9, 10)) + speed_cells() + [
        synthetic.corpus_cell(name, CORPUS) for name in ("F16", "Q8_0")]
    store = written(tmp_path / "mine", experiment(), cells)
    power = power_of(make_plan(experiment()), Pilot(experiment(), store))
    with (tmp_path / "out").open("w") as stream:
        text = render_parts([], power_grids(power), stream, width=100)
    assert max(map(len, text.splitlines())) <= 100
    assert all(word in text for word in ("arithmetic", "here, Q8_0", "documentation", "all loads"))
