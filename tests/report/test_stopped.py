"""Tasks that ended early: the word follows from the items table alone, and an order made up afterwards is refused."""

from typing import Any

import numpy as np
import pytest

from quantcheck.report.answers import compare_answers
from quantcheck.report.pairs import Pair, pair_cells
from quantcheck.report.stopped import Looked, judge_looks, looked
from quantcheck.report.view import build_summary
from quantcheck.stats.sequential import look_order, paths
from tests.report import synthetic
from tests.report.synthetic import FakeCell

TASK, OTHER = "reference/arithmetic", "reference/format"
SEED = 7


def ended_early(cell: FakeCell, items: int, seed: int = SEED) -> FakeCell:
    """`cell` as if its task had been looked at in the drawn order and ended after `items`."""
    ids = cell.tables["items"]["id"]
    order = look_order(ids.tolist(), seed)
    first = order[:items]
    cell.tables["items"] = {name: column[first] for name, column in cell.tables["items"].items()}
    cell.record["result"] |= {"n": items, "early": {"order_seed": seed, "items": items, "of": len(ids), "word": "lies"}}
    return cell


def early_cells(items: dict[str, int], tasks: tuple[str, ...] = (TASK, OTHER)) -> list[FakeCell]:
    """A fixed-size baseline and twin, and variants that ended after so many items."""
    found = []
    for task in tasks:
        for name in (*synthetic.TRUTH, synthetic.AGAIN):
            cell = synthetic.task_cell(name, task)
            found.append(ended_early(cell, items[name]) if name in items else cell)
    return found


def summary_of(cells: list[FakeCell], **policy: Any) -> Any:
    chosen = synthetic.experiment(load=None, quality={"suites": [TASK, OTHER], "stop": "early"}, policy=policy)
    return build_summary(chosen, cells, synthetic.artifacts(), synthetic.ENVIRONMENT, [])


COUNTS = {"Q8_0": 900, "Q4_K_M": 1500, "Q2_K": 100}


def test_the_word_comes_from_the_e_values_of_the_items_table() -> None:
    cells = early_cells(COUNTS)
    summary = summary_of(cells, margin={"accuracy_pp": 1.0, "tasks": {OTHER: 3.0}})
    rows = {(row.variant, row.task): row for row in summary.quality}
    for (variant, task), row in rows.items():
        ours, theirs = (next(c for c in cells if c.record["key"]["variant"] == name
                             and c.record["key"]["subject"] == task) for name in ("F16", variant))
        right = dict(zip(ours.tables["items"]["id"], ours.tables["items"]["right"], strict=True))
        table = theirs.tables["items"]
        differences = np.array([int(got) - int(right[item]) for item, got in zip(table["id"], table["right"],
                                                                                 strict=True)])
        margin = 0.03 if task == OTHER else 0.01
        safe, harmed = paths(differences, margin)
        assert (row.n, row.stopped.items, row.stopped.of) == (COUNTS[variant], COUNTS[variant], synthetic.ITEMS)
        assert row.margin == margin
        assert row.stopped.e_safe == pytest.approx(max(1.0, float(np.exp(safe.max()))))
        assert row.stopped.e_harmed == pytest.approx(max(1.0, float(np.exp(harmed.max()))))
        assert row.delta.value == pytest.approx(float(differences.mean()))
        assert row.p is None, "a p-value of a fixed size does not hold after looking"
    # Holm over two tasks: the smaller p counts twice, the larger once.
    for variant in COUNTS:
        own = [rows[variant, TASK], rows[variant, OTHER]]
        small, large = sorted(1 / row.stopped.e_harmed for row in own)
        adjusted = sorted(row.p_harmed for row in own)
        first = min(1.0, 2 * min(1.0, small))
        assert adjusted == pytest.approx([first, max(first, min(1.0, large))])
    assert rows["Q2_K", TASK].word == "harmed"
    assert rows["Q8_0", OTHER].word == "safe"
    assert "lies" not in summary.model_dump_json()


def test_an_order_made_up_afterwards_is_refused() -> None:
    cells = early_cells({"Q8_0": 300}, (TASK,))
    cell = next(c for c in cells if c.record["key"]["variant"] == "Q8_0")
    assert summary_of(cells).quality[0].word != "not comparable"
    table = cell.tables["items"]
    for changed in (np.r_[1, 0, 2:300], np.arange(299, -1, -1)):
        cell.tables["items"] = {name: column[changed] for name, column in table.items()}
        row = next(r for r in summary_of(cells).quality if r.variant == "Q8_0")
        assert row.word == "not comparable"
        assert "not in the order that its seed gives" in (row.reason or "")
    cell.tables["items"] = table
    cell.record["result"]["early"]["order_seed"] = SEED + 1
    assert next(r for r in summary_of(cells).quality if r.variant == "Q8_0").word == "not comparable"


def test_an_item_that_the_baseline_never_had_is_not_paired() -> None:
    cells = early_cells({"Q8_0": 300}, (TASK,))
    cell = next(c for c in cells if c.record["key"]["variant"] == "Q8_0")
    cell.tables["items"]["id"] = np.array(["other", *cell.tables["items"]["id"][1:]])
    row = next(r for r in summary_of(cells).quality if r.variant == "Q8_0")
    assert (row.word, row.reason) == ("not comparable", "the two were not asked the same items")


def test_a_task_of_fixed_size_was_not_looked_at() -> None:
    ours, theirs = (synthetic.task_cell(name, TASK) for name in ("F16", "Q8_0"))
    pair = pair_cells(ours, theirs)
    assert isinstance(pair, Pair)
    assert looked(ours, theirs, pair) is None


def test_the_interval_is_what_no_look_rejects_and_holds_the_truth_at_every_look() -> None:
    rng = np.random.default_rng(20261125)
    missed = 0
    for _ in range(150):
        lost, gained, n = 0.06, 0.02, int(rng.integers(30, 400))
        kind = rng.uniform(size=n)
        baseline, variant = kind >= gained, (kind < gained) | (kind >= gained + lost)
        looks = Looked(variant.astype(float) - baseline, n)
        result, stopped = judge_looks(compare_answers(baseline, variant, margin=0.01), looks)
        # The bounds are the same test as the word's: safe exactly where the lower bound is above -margin.
        assert (result.lower_bound > -0.01) == (stopped.e_safe >= 20)
        assert (result.upper_bound < 0) == (stopped.e_harmed >= 20) or abs(result.upper_bound) < 1e-4
        assert result.low <= result.lower_bound <= result.upper_bound <= result.high
        missed += not result.low <= gained - lost <= result.high
    assert missed <= 12


def test_all_tasks_together_have_no_interval_and_slices_no_p_value() -> None:
    summary = summary_of(early_cells(COUNTS))
    for row in summary.variants[1:]:
        assert row.quality.delta.low is None
        assert "ended early" in (row.quality.delta.reason or "")
    assert "95% CI )" not in summary.headline.sentence
    assert all(row.p is None and row.q is None for row in summary.slices)
