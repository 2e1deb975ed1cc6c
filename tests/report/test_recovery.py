"""Accuracy recovery: the ratio of accuracies, and the change's interval on its scale."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.report.recovery import recovery, recovery_grid
from quantcheck.report.summary import Figure
from tests.report import synthetic
from tests.report.situations import SITUATIONS, failed_cells

rights = st.integers(1, 1000)


@given(rights, st.integers(0, 1000), st.floats(0.0001, 0.2))
def test_it_is_the_ratio_of_the_two_accuracies(base: int, variant: int, half: float) -> None:
    """Against counts: of 1,000 items `base` and `variant` are right."""
    delta = (variant - base) / 1000
    kept = recovery(Figure(value=variant / 1000), Figure(value=delta, low=delta - half, high=delta + half))
    assert kept.value == pytest.approx(variant / base)
    assert kept.low is not None
    assert kept.high is not None
    assert (kept.low + kept.high) / 2 == pytest.approx(kept.value)
    assert kept.high - kept.low == pytest.approx(2 * half / (base / 1000))


@pytest.mark.parametrize(("accuracy", "delta", "reason"), [
    (Figure(reason="failed"), Figure(reason="other"), "failed"),
    (Figure(value=0.5), Figure(reason="not comparable"), "not comparable"),
    (Figure(value=0.2), Figure(value=0.2, low=0.1, high=0.3), "the baseline has no item right"),
])  # fmt: skip
def test_what_cannot_be_told_says_why(accuracy: Figure, delta: Figure, reason: str) -> None:
    assert recovery(accuracy, delta) == Figure(reason=reason)


def test_a_change_without_an_interval_keeps_its_reason() -> None:
    kept = recovery(Figure(value=0.4), Figure(value=-0.1, reason="tasks ended early"))
    assert (kept.value, kept.low, kept.reason) == (pytest.approx(0.8), None, "tasks ended early")


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_task_and_variant_has_a_line_with_its_items(name: str) -> None:
    summary = SITUATIONS[name]()
    rows = recovery_grid(summary).rows
    assert len(rows) == len(summary.quality) + (
        sum(not row.baseline and row.quality.basis == "tasks" for row in summary.variants) if summary.quality else 0)
    by_task = sorted(summary.quality, key=lambda row: list(synthetic.TASKS).index(row.task))
    for row, told in zip(rows, by_task, strict=False):
        assert row[1].text == told.variant
        assert row[2].text == (f"{told.n:,}" if told.n else "")


def test_all_tasks_rest_on_the_items_that_were_paired() -> None:
    rows = {row[1].text: row for row in recovery_grid(failed_cells()).rows[-3:]}
    assert rows["Q2_K"][2].text == "4,500"
    assert rows["Q4_K_M"][5].missing == "engine never became healthy in 120 s"
