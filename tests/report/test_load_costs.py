"""Costs at each load: from the same throughputs as the ratios of speed, and whether less hardware is cheaper there."""

from typing import Any

import pytest

from quantcheck.report.summary import LoadCostRow, Summary
from quantcheck.report.view import build_summary
from tests.report import synthetic
from tests.report.synthetic import FakeCell

HOUR = 3.6  # a tenth of a cent a second: a price is 1000 / throughput


def build(measured: list[FakeCell] | None = None, *, price: bool = True, **gpus: int) -> Summary:
    policy: dict[str, Any] = {"price": {"gpu_hour_usd": HOUR, "gpus": gpus}} if price else {}
    cells = synthetic.cells(quality=False) if measured is None else measured
    return build_summary(synthetic.experiment(quality=None, policy=policy), cells, synthetic.artifacts(),
                         synthetic.ENVIRONMENT, [])  # fmt: skip


def row(summary: Summary, load: str, variant: str) -> LoadCostRow:
    return next(r for r in summary.load_costs if (r.load, r.variant) == (load, variant))


def test_a_row_per_load_and_variant() -> None:
    summary = build(F16=2)
    assert [(r.load, r.variant) for r in summary.load_costs] == [
        (load, variant) for load in ("short@c1", "short@c8") for variant in ("F16", "Q8_0", "Q4_K_M", "Q2_K")]
    for speed in summary.speed:
        if speed.metric != "output_throughput":
            continue
        found, share = row(summary, speed.load, speed.variant), 1 if speed.variant == "F16" else 2
        assert found.output.value == pytest.approx((2 / share) * 1_000 / speed.value.value)  # type: ignore[operator]
        if speed.variant == "F16":
            assert (found.ratio.reason, found.word) == ("is the baseline", None)
        else:
            assert found.ratio.value == pytest.approx(1 / (2 * speed.ratio.value))  # type: ignore[operator]
            assert found.ratio.low == pytest.approx(1 / (2 * speed.ratio.high))  # type: ignore[operator]
            assert found.word == "cheaper"


def test_the_best_load_costs_what_the_table_of_costs_says() -> None:
    summary = build(F16=2)
    for cost in summary.costs:
        found = row(summary, cost.at or "", cost.variant)
        assert (found.output, found.ratio, found.word) == (cost.output, cost.ratio, cost.word)


def test_none_without_a_price_or_with_one_load() -> None:
    assert build(price=False).load_costs == []
    one = [cell for cell in synthetic.cells(quality=False) if cell.record["key"]["subject"] != "short@c1"]
    experiment = synthetic.experiment(quality=None, policy={"price": {"gpu_hour_usd": HOUR}}, load={
        **synthetic.experiment().load.model_dump(), "concurrency": [8]})  # type: ignore[union-attr]
    assert build_summary(experiment, one, synthetic.artifacts(), synthetic.ENVIRONMENT, []).load_costs == []


def test_a_load_that_was_not_measured_says_why() -> None:
    cells = [cell for cell in synthetic.cells(quality=False)
             if (cell.record["key"]["variant"], cell.record["key"]["subject"]) != ("Q8_0", "short@c1")]
    found = row(build(cells), "short@c1", "Q8_0")
    assert found.output.value is None
    assert found.ratio.reason == found.output.reason


def test_less_hardware_is_told_and_asked_for_its_cost() -> None:
    summary, plain = build(F16=2), build()
    decision = next(d for d in summary.decisions if d.variant == "Q8_0")
    assert [c.key for c in decision.conditions] == ["quality", "cost:short"]
    assert "speed" in [c.key for c in plain.decisions[0].conditions]
    assert " on 1 GPU instead of 2, " in summary.headline.sentence
    assert "x cheaper at short@c8" in summary.headline.sentence
    assert "GPU" not in plain.headline.sentence
