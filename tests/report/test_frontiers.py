"""Frontiers from cells: who is pushed out, by whom, and never without a finding."""

from typing import Any

import pytest

from quantcheck.report.frontiers import frontier_grid, frontier_lines
from quantcheck.report.summary import FrontierRow, Summary
from quantcheck.report.view import build_summary
from tests.report import synthetic
from tests.report.synthetic import FakeCell

CELLS = synthetic.cells()
SIZE, SPEED, COST = "quality against size", "throughput against latency", "cost against quality"


def build(cells: list[FakeCell] = CELLS, recipes: Any = None, **changes: Any) -> Summary:
    recipes = recipes or synthetic.artifacts()
    return build_summary(synthetic.experiment(**changes), cells, recipes, synthetic.ENVIRONMENT, [])


def rows(summary: Summary, frontier: str) -> dict[str, FrontierRow]:
    return {f"{r.variant} at {r.load}" if r.load else r.variant: r for r in summary.frontiers if r.frontier == frontier}


def swapped(variant: str, truth: str, cells: list[FakeCell] = CELLS) -> list[FakeCell]:
    """The cells, `variant` having measured exactly what `truth` did."""
    kept = [c for c in cells if c.record["key"]["variant"] != variant]
    copies = [FakeCell({**c.record, "key": {**c.record["key"], "variant": variant}}, c.tables)
              for c in cells if c.record["key"]["variant"] == truth]  # fmt: skip
    return kept + copies


WHOLE = build(policy={"price": {"gpu_hour_usd": 3.5}})


def test_smaller_and_not_worse_pushes_out_the_larger() -> None:
    found = rows(WHOLE, SIZE)
    assert {name: r.on for name, r in found.items()} == {"F16": False, "Q8_0": False, "Q4_K_M": True, "Q2_K": True}
    assert found["F16"].dominated_by == ["Q8_0", "Q4_K_M"]
    assert found["Q8_0"].dominated_by == ["Q4_K_M"]


def test_a_harmed_variant_never_pushes_out_a_better_one() -> None:
    for row in WHOLE.frontiers:
        if row.frontier != SPEED and row.variant != "Q2_K":
            assert "Q2_K" not in row.dominated_by


def test_two_variants_with_the_same_answers_are_told_apart_by_size_alone() -> None:
    found = rows(build(swapped("Q2_K", "Q4_K_M")), SIZE)
    assert found["Q4_K_M"].dominated_by == ["Q2_K"]


def test_variants_are_compared_with_each_other_not_through_the_baseline() -> None:
    # Both lose on one task, each on another: neither is better, and the smaller does not push out the larger.
    arithmetic, writing = "reference/arithmetic", "reference/format"
    healthy = swapped("Q8_0", "F16", swapped("Q4_K_M", "F16"))
    for variant, task in (("Q8_0", arithmetic), ("Q4_K_M", writing)):
        healthy = [c for c in healthy if (c.record["key"]["variant"], c.record["key"]["subject"]) != (variant, task)]
        broken = synthetic.task_cell("Q2_K", task)
        healthy.append(FakeCell({**broken.record, "key": {**broken.record["key"], "variant": variant}}, broken.tables))
    found = rows(build(healthy), SIZE)
    assert "Q4_K_M" not in found["Q8_0"].dominated_by
    assert found["F16"].on


def test_a_load_is_a_point_and_equal_speeds_push_out_nothing() -> None:
    found = rows(WHOLE, SPEED)
    assert len(found) == 8
    assert found["Q8_0 at short@c1"].dominated_by
    assert found["Q4_K_M at short@c1"].on
    assert found["Q4_K_M at short@c8"].on
    # The same measurement under two names: nothing is a finding between them.
    variants = {name: {"scheme": f"gguf/{name}"} for name in ("F16", "Q8_0", "Q4_K_M")}
    twins = rows(build(swapped("Q8_0", "Q4_K_M"), variants=variants), SPEED)
    assert all(twins[f"{name} at {load}"].on for name in ("Q8_0", "Q4_K_M") for load in synthetic.LOADS)


def test_fewer_blocks_than_an_interval_takes_push_out_nothing() -> None:
    one = build([c for c in CELLS if c.record["key"]["block"] == 0], blocks=1)
    assert all(row.on for row in one.frontiers if row.frontier == SPEED)


def test_the_cost_frontier_takes_a_price() -> None:
    assert rows(build(), COST) == {}
    found = rows(WHOLE, COST)
    assert list(found) == ["F16", "Q8_0", "Q4_K_M", "Q2_K"]
    assert found["F16"].dominated_by == ["Q8_0", "Q4_K_M"]
    assert found["F16"].workload == "short"


def test_a_variant_without_a_figure_has_no_place() -> None:
    recipes = synthetic.artifacts()
    del recipes["Q8_0"]["bytes"]
    found = rows(build(recipes=recipes), SIZE)
    assert found["Q8_0"].on is None
    assert found["Q8_0"].reason == "no weight files"
    assert found["F16"].dominated_by == ["Q4_K_M"]


def test_without_tasks_perplexity_is_the_quality() -> None:
    cells = [c for c in CELLS if c.record["result"].get("kind") == "perplexity"]
    found = rows(build(cells, load=None, quality={"suites": [*synthetic.CORPORA]}), SIZE)
    assert found["F16"].y.value == 1.0
    assert found["Q2_K"].on
    assert "Q2_K" not in found["Q4_K_M"].dominated_by


def test_alone_there_is_no_frontier() -> None:
    cells = [c for c in CELLS if c.record["key"]["variant"] == "F16" and c.record["key"]["kind"] == "quality"]
    assert build(cells, variants={"F16": {"scheme": "gguf/F16"}}, load=None).frontiers == []


@pytest.mark.parametrize("summary", [WHOLE, build(load=None, cells=synthetic.cells(load=False))])
def test_the_table_names_what_pushed_a_point_out(summary: Summary) -> None:
    grid = frontier_grid(summary)
    assert len(grid.rows) == len(summary.frontiers)
    for line, row in zip(grid.rows, summary.frontiers, strict=True):
        assert bool(line[-1].text) == bool(row.dominated_by)
    assert frontier_lines(summary)[0] == "quality against size: Q4_K_M, Q2_K"


def test_answers_that_ended_early_are_compared_with_the_baselines_alone() -> None:
    quality = {"suites": [*synthetic.TASKS, *synthetic.CORPORA], "stop": "early"}
    found = rows(build(quality=quality), SIZE)
    assert found["F16"].dominated_by == ["Q8_0", "Q4_K_M"]
    assert found["Q8_0"].dominated_by == []


def test_a_difference_below_the_noise_floor_pushes_out_nothing() -> None:
    # The baseline's second measurement is as fast as Q2_K: by that much this machine differs from itself.
    loud = [*swapped("F16@again", "Q2_K", [c for c in CELLS if c.record["key"]["kind"] == "load"])]
    found = rows(build(loud, quality=None), SPEED)
    assert not any("Q8_0" in name for name in found["F16 at short@c1"].dominated_by)
