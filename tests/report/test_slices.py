"""Slices, drawn answers, and what stands beside a task's figure: known truth in, and every hole explained."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from quantcheck.report.markdown import render
from quantcheck.report.slices import found
from quantcheck.report.summary import SliceRow, Summary
from quantcheck.report.view import build_summary
from quantcheck.stats import mcnemar_p
from tests.report import synthetic
from tests.report.synthetic import FakeCell

TASK, OTHER = "reference/arithmetic", "reference/format"
SUBJECTS, LANGUAGES = np.array(["law", "art", "sea", "toy"]), np.array(["de", "en"])


def sliced(cells: list[FakeCell]) -> list[FakeCell]:
    """Items with a subject (one of them rare), a language and a prompt length; Q2_K also loses all of `sea`."""
    for cell in cells:
        if cell.record["key"]["subject"] != TASK:
            continue
        table = cell.tables["items"]
        n = len(table["id"])
        place = np.arange(n)
        table["group"] = SUBJECTS[np.where(place < 15, 3, place % 3)]
        table["language"] = LANGUAGES[(place // 3) % 2]
        table["prompt_tokens"] = (10 + place % 90).astype(np.int32)
        if cell.record["key"]["variant"] == "Q4_K_M":
            table["right"] = table["right"] & (table["group"] != "sea")
    return cells


def task_cells(*tasks: str) -> list[FakeCell]:
    return [synthetic.task_cell(name, task) for task in tasks for name in (*synthetic.TRUTH, synthetic.AGAIN)]


def summary_of(cells: list[FakeCell], **changes: Any) -> Summary:
    tasks = list(dict.fromkeys(cell.record["key"]["subject"] for cell in cells))
    chosen = synthetic.experiment(**{"load": None, "quality": {"suites": tasks}, **changes})
    return build_summary(chosen, cells, synthetic.artifacts(), synthetic.ENVIRONMENT, [])


def of(rows: list[SliceRow], **where: Any) -> list[SliceRow]:
    return [row for row in rows if all(getattr(row, name) == value for name, value in where.items())]


def test_slices_cover_the_task_and_show_where_it_broke() -> None:
    summary = summary_of(sliced(task_cells(TASK)))
    rows = of(summary.slices, variant="Q4_K_M")
    assert [row.slice for row in rows if row.by == "group"] == ["art", "law", "sea", "toy"]
    assert [row.slice for row in rows if row.by == "language"] == ["de", "en"]
    assert [row.slice for row in rows if row.by == "prompt length"] == ["10 to 39 tokens", "40 to 68 tokens",
                                                                         "69 to 99 tokens"]
    for by in ("group", "language", "prompt length"):
        assert sum(row.n for row in rows if row.by == by) == synthetic.ITEMS
    sea = of(rows, slice="sea")[0]
    assert sea.delta.value == pytest.approx(-0.93, abs=0.05)
    assert sea.q is not None
    assert sea.q < 1e-9
    assert found(summary)[0].q == min(row.q for row in summary.slices if row.q is not None)
    others = [row for name in ("art", "law") for row in of(rows, slice=name)]
    assert all(row.q is not None and row.q > 0.05 for row in others)


def test_p_is_mcnemar_and_q_benjamini_hochberg_over_the_variants_slices() -> None:
    summary = summary_of(sliced(task_cells(TASK)))
    for variant in ("Q8_0", "Q4_K_M", "Q2_K"):
        rows = [row for row in of(summary.slices, variant=variant) if row.p is not None]
        assert [row.p for row in rows] == [mcnemar_p(row.lost, row.gained) for row in rows]
        expected = stats.false_discovery_control([row.p for row in rows])
        np.testing.assert_allclose([row.q for row in rows], expected, rtol=1e-9)


def test_a_small_slice_is_refused_with_its_reason() -> None:
    summary = summary_of(sliced(task_cells(TASK)))
    for row in of(summary.slices, slice="toy"):
        assert (row.n, row.p, row.q, row.delta.value) == (15, None, None, None)
        assert row.reason == "15 items: a slice needs at least 20"


def test_items_without_names_or_lengths_have_no_slices() -> None:
    summary = summary_of(task_cells(TASK))  # cells of an older version: no prompt_tokens
    assert summary.slices == []
    assert "Exploratory" not in render(summary)


def test_the_report_calls_slices_exploratory() -> None:
    text = render(summary_of(sliced(task_cells(TASK))))
    section = text.partition("## Exploratory: where it broke")[2].partition("## ")[0]
    assert "group sea" in section
    assert "no verdict rests on them" in section
    assert "toy" not in section, "what was not tested is in the JSON"


def drawn(cell: FakeCell, draws: int, seed: int) -> FakeCell:
    """`cell` with `draws` answers an item: right with 0.95 where it was right, 0.1 where it was not."""
    table = cell.tables["items"]
    chance = np.repeat(np.where(table["right"], 0.95, 0.1), draws)
    rng = np.random.default_rng(seed)
    cell.tables["items"] = {name: np.repeat(column, draws) for name, column in table.items()} | {
        "draw": np.tile(np.arange(draws), len(table["id"])), "right": rng.uniform(size=len(chance)) < chance}
    sampling = {"temperature": 0.7, "top_p": 1.0, "draws": draws}
    cell.record["result"] |= {"sampling": sampling, "accuracy": float(cell.tables["items"]["right"].mean())}
    return cell


def drawn_cells(*tasks: str) -> list[FakeCell]:
    return [drawn(cell, 4, number) for number, cell in enumerate(task_cells(*tasks))]


def test_drawn_answers_are_paired_by_item_whatever_their_order_in_the_table() -> None:
    cells = drawn_cells(TASK)
    first = summary_of(cells)
    row = next(r for r in first.quality if r.variant == "Q2_K")
    ours, theirs = cells[0].tables["items"], cells[3].tables["items"]
    assert row.n == synthetic.ITEMS
    assert row.accuracy.value == pytest.approx(theirs["right"].mean())
    assert row.delta.value == pytest.approx(theirs["right"].mean() - ours["right"].mean())
    assert row.word == "harmed"
    assert row.unpaired is None
    sampled = row.sampled
    assert sampled is not None
    assert (sampled.draws, sampled.temperature) == (4, 0.7)
    # Within an item: p (1 - p) of both models, p as it was made.
    greedy = [synthetic.task_cell(name, TASK).tables["items"]["right"] for name in ("F16", "Q2_K")]
    inside = sum(float(np.where(right, 0.95 * 0.05, 0.1 * 0.9).mean()) for right in greedy)
    assert sampled.draw_variance == pytest.approx(inside, rel=0.05)
    between = np.var(np.where(greedy[1], 0.95, 0.1) - np.where(greedy[0], 0.95, 0.1), ddof=1)
    assert sampled.item_variance == pytest.approx(float(between), rel=0.1)
    shuffled = np.random.default_rng(5).permutation(len(theirs["id"]))
    cells[3].tables["items"] = {name: column[shuffled] for name, column in theirs.items()}
    assert summary_of(cells).quality == first.quality
    assert first.variants[0].quality.accuracy.value == pytest.approx(ours["right"].mean())


def test_drawn_and_greedy_answers_are_not_compared() -> None:
    cells = drawn_cells(TASK)
    cells[1] = synthetic.task_cell("Q8_0", TASK)
    row = next(r for r in summary_of(cells).quality if r.variant == "Q8_0")
    assert (row.word, row.reason) == ("not comparable", "not the same work: how answers were drawn differs")


def test_drawn_tasks_and_single_answers_make_one_whole() -> None:
    cells = drawn_cells(TASK) + task_cells(OTHER)
    summary = summary_of(cells)
    whole = next(v for v in summary.variants if v.name == "Q2_K").quality
    own = [row for row in summary.quality if row.variant == "Q2_K"]
    assert whole.n == 2 * synthetic.ITEMS
    assert whole.delta.value == pytest.approx(np.mean([row.delta.value for row in own]))
    assert whole.accuracy.value == pytest.approx(np.mean([row.accuracy.value for row in own]))
    assert summary.slices == []


def test_every_quality_figure_has_the_noise_floor_beside_it() -> None:
    summary = summary_of(synthetic.cells(load=False), quality={"suites": [*synthetic.TASKS, *synthetic.CORPORA]})
    floors = {row.subject: row.effect for row in summary.noise_floor}
    assert all(row.noise == floors[row.task] for row in summary.quality)
    assert all(row.noise == floors[row.corpus] for row in summary.corpora)
    without = summary_of([c for c in task_cells(TASK) if c.record["key"]["variant"] != synthetic.AGAIN],
                         noise_floor=False)
    assert {row.noise.reason for row in without.quality} == {"no noise floor was measured"}
    assert "noise floor" in render(summary)


def test_pairing_narrows_what_the_unpaired_test_shows() -> None:
    row = next(r for r in summary_of(task_cells(TASK)).quality if r.variant == "Q4_K_M")
    assert row.unpaired is not None
    assert row.delta.low is not None
    assert row.delta.high is not None
    assert row.unpaired.low < row.delta.low < row.delta.high < row.unpaired.high


def test_each_task_has_its_own_margin() -> None:
    cells = task_cells(TASK, OTHER)
    strict = summary_of(cells, policy={"margin": {"accuracy_pp": 0.01}})
    words = {row.task: row.word for row in strict.quality if row.variant == "Q8_0"}
    assert words == {TASK: "inconclusive", OTHER: "inconclusive"}
    own = summary_of(cells, policy={"margin": {"accuracy_pp": 0.01, "tasks": {OTHER: 2.0}}})
    rows = {row.task: row for row in own.quality if row.variant == "Q8_0"}
    assert (rows[TASK].word, rows[OTHER].word) == ("inconclusive", "safe")
    assert (rows[TASK].margin, rows[OTHER].margin) == (0.0001, 0.02)
