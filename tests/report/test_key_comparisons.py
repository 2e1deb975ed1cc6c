"""The table of key comparisons: every one that a reader of two servings looks for, or why it is not there."""

import pytest

from quantcheck.report.grids import Item
from quantcheck.report.key_comparisons import COST, HIGHEST, key_grid
from quantcheck.report.summary import SpeedRow, Summary
from tests.report.situations import SITUATIONS, all_measured, failed_cells, not_comparable, single_variant

SPEED = {"Output throughput", "TTFT", "ITL", "Prefill", "ITL degradation", HIGHEST, COST}
QUALITY = {"Accuracy, all tasks", "Accuracy recovery", "Perplexity ratio", "KL divergence, nats", "Top-1 agreement"}


def line(summary: Summary, figure: str, at: str = "") -> list[Item]:
    return next(list(row[2:]) for row in key_grid(summary).rows
                if row[0].text == figure and (not at or row[1].text == at))  # fmt: skip


def ttft(summary: Summary, variant: str) -> SpeedRow:
    return next(row for row in summary.speed
                if (row.load, row.metric, row.variant) == ("short@c1", "ttft", variant))  # fmt: skip


def test_all_comparisons_are_there() -> None:
    rows = key_grid(all_measured()).rows
    assert {row[0].text for row in rows} >= SPEED | QUALITY | {"Weights", "Output throughput there"}
    assert {row[1].text for row in rows if row[0].text == "TTFT"} == {"short@c1", "short@c8"}


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_field_says_something_or_why_not(name: str) -> None:
    """But the baseline's own place in a comparison with it, which is empty."""
    for row in key_grid(SITUATIONS[name]()).rows:
        for item in row[3:]:
            assert item.text or item.missing, row[0].text


def test_prefill_is_the_prompt_over_ttft_and_its_ratio_turned_over() -> None:
    summary = all_measured()
    ratio = ttft(summary, "Q8_0").ratio
    assert ratio.value is not None
    assert ratio.low is not None
    assert ratio.high is not None
    item = line(summary, "Prefill")[1]
    seconds = ttft(summary, "Q8_0").value.value
    assert seconds is not None
    assert float(item.text.split()[0].replace(",", "")) == pytest.approx(32 / seconds, rel=0.01)
    assert item.detail == f"{1 / ratio.value:.2f}x, {1 / ratio.high:.2f}-{1 / ratio.low:.2f}, faster"


@pytest.mark.parametrize(("change", "reason"), [
    ({"prompt_tokens": {"mean": 32}}, "prompts differ in length"),
    ({"shared_prefix": 0.5}, "prompts share a beginning"),
])  # fmt: skip
def test_prefill_is_refused_where_prompts_do_not_tell_it(change: dict[str, object], reason: str) -> None:
    summary = all_measured().model_copy(deep=True)
    summary.settings["load"]["workloads"]["short"] |= change
    assert {item.missing for item in line(summary, "Prefill")} == {reason}


def test_without_slo_and_price_it_is_said_once_for_all_workloads() -> None:
    rows = [row for row in key_grid(not_comparable()).rows if row[0].text in (HIGHEST, COST)]
    assert [{item.missing for item in row[2:]} for row in rows] == [
        {"no SLO in the experiment"}, {"no price in the experiment's policy"}]


def test_what_does_not_compare_has_no_ratio() -> None:
    assert [item.detail for item in line(not_comparable(), "Output throughput", "short@c1")][1] == "not comparable"
    assert line(not_comparable(), "Accuracy recovery")[1].missing == "not the same work: suite differ"


def test_fewer_items_than_the_others_are_told() -> None:
    assert line(failed_cells(), "Accuracy, all tasks")[3].detail.startswith("of 4,500 items, ")


def test_a_variant_alone_is_compared_with_nothing() -> None:
    grid = key_grid(single_variant())
    assert not {row[0].text for row in grid.rows} & (QUALITY - {"Accuracy, all tasks"})
    assert all(not row[2].detail for row in grid.rows if row[0].text != "ITL degradation")
