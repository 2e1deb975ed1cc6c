"""Prices as text, and the tables of costs."""

import io

import pytest

from quantcheck.report import terminal
from quantcheck.report.cost_grids import load_cost_grid, usd
from quantcheck.report.markdown import render
from quantcheck.report.matrices import load_cost_matrix
from quantcheck.report.summary import Figure, Summary
from quantcheck.report.view import build_summary
from tests.report import synthetic


def priced() -> Summary:
    experiment = synthetic.experiment(quality=None, policy={"price": {"gpu_hour_usd": 3.6, "gpus": {"F16": 2}}})
    return build_summary(experiment, synthetic.cells(quality=False), synthetic.artifacts(), synthetic.ENVIRONMENT, [])


@pytest.mark.parametrize(
    ("value", "text"), [(0.28595, "$0.286"), (12.3456, "$12.35"), (0.000123, "$0.00012"), (0, "$0")]
)
def test_money_is_shown_to_a_tenth_of_a_cent(value: float, text: str) -> None:
    assert usd(Figure(value=value)) == text


def test_money_shows_no_more_than_its_interval_and_two_digits() -> None:
    assert usd(Figure(value=0.28595, low=0.25, high=0.32)) == "$0.29"
    wide = Figure(value=0.4149, low=0.183, high=0.941)
    assert [usd(wide, end=end) for end in ("value", "low", "high")] == ["$0.41", "$0.18", "$0.94"]
    assert usd(Figure(reason="no load")) == "n/a (no load)"


def test_shown_in_the_terminal_and_in_markdown() -> None:
    summary = priced()
    assert "Cost by load (USD per million output tokens)" in terminal.render(summary, io.StringIO(), width=100)
    text = render(summary)
    assert "### Output tokens at each load" in text
    assert len(load_cost_grid(summary).rows) == 8
    matrix = load_cost_matrix(summary, ["Q8_0", "Q2_K"])
    assert [column.name for column in matrix.columns] == ["load", "F16", "Q8_0", "Q2_K"]
    assert [items[0].text for items in matrix.rows] == ["short@c1", "short@c8"]
