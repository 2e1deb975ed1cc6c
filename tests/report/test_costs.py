"""Costs from cells: at which load, at which price, with whose interval."""

from typing import Any

import numpy as np
import pytest

from quantcheck.report.cost_grids import cost_grid, cost_notes
from quantcheck.report.summary import CostRow, Summary
from quantcheck.report.view import build_summary
from tests.report import synthetic
from tests.report.synthetic import FakeCell

HOUR = 3.6  # a tenth of a cent a second: a price is 1000 / throughput
VARIANTS = ("F16", "Q8_0", "Q4_K_M", "Q2_K")


def cells(*, inputs: float | None = 2.0) -> list[FakeCell]:
    """Load cells with `inputs` input tokens per output token."""
    found = synthetic.cells(quality=False)
    for cell in found:
        metrics = cell.record["result"]["metrics"]
        if inputs is not None:
            metrics["input_throughput"] = inputs * metrics["output_throughput"]
    return found


def build(
    price: dict[str, Any] | None, *, measured: list[FakeCell] | None = None, recipes: Any = None, **policy: Any
) -> Summary:
    experiment = synthetic.experiment(quality=None, policy={"price": price, **policy} if price else policy)
    measured = cells() if measured is None else measured
    return build_summary(experiment, measured, recipes or synthetic.artifacts(), synthetic.ENVIRONMENT, [])


def row(summary: Summary, variant: str) -> CostRow:
    return next(r for r in summary.costs if r.variant == variant)


def throughput(variant: str, load: str = "short@c8") -> np.ndarray:
    blocks = [synthetic.load_cell(variant, load, b).record["result"]["metrics"] for b in range(synthetic.BLOCKS)]
    return np.array([block["output_throughput"] for block in blocks])


def test_without_a_price_there_are_no_costs() -> None:
    summary = build(None)
    assert summary.costs == []
    assert cost_grid(summary).rows == []
    assert cost_notes(summary) == []


def test_without_an_slo_the_cost_is_that_of_the_highest_throughput() -> None:
    summary = build({"gpu_hour_usd": HOUR})
    assert [r.variant for r in summary.costs] == list(VARIANTS)
    for name in VARIANTS[1:]:
        found = row(summary, name)
        assert (found.basis, found.at) == ("highest throughput", "short@c8")
        middle = float(np.exp(np.log(throughput(name)).mean()))
        assert found.output.value == pytest.approx(1_000 / middle)
        assert found.input.value == pytest.approx(500 / middle)
        assert found.blended.value == pytest.approx(1_000 / (3 * middle))
    assert "because no SLO was given" in cost_notes(summary)[1]


def test_the_interval_is_the_throughputs() -> None:
    summary = build({"gpu_hour_usd": HOUR})
    speed = next(r for r in summary.speed if (r.variant, r.load, r.metric) == ("Q8_0", "short@c8", "output_throughput"))
    found = row(summary, "Q8_0").output
    assert speed.value.low is not None
    assert speed.value.high is not None
    assert (found.low, found.high) == pytest.approx((1_000 / speed.value.high, 1_000 / speed.value.low))


def test_the_ratio_is_paired_and_knows_the_accelerators() -> None:
    one, two = build({"gpu_hour_usd": HOUR}), build({"gpu_hour_usd": HOUR, "gpus": {"F16": 2}})
    speed = next(r for r in one.speed if (r.variant, r.load, r.metric) == ("Q8_0", "short@c8", "output_throughput"))
    assert speed.ratio.value is not None
    assert row(one, "Q8_0").ratio.value == pytest.approx(1 / speed.ratio.value)
    assert row(two, "Q8_0").ratio.value == pytest.approx(0.5 / speed.ratio.value)
    assert (row(two, "F16").gpus, row(two, "F16").hour_usd) == (2, 2 * HOUR)
    ratio, wide = row(two, "Q8_0").ratio, row(one, "Q8_0").ratio
    assert None not in (ratio.high, ratio.low, wide.high, wide.low)
    assert np.log(ratio.high / ratio.low) == pytest.approx(np.log(wide.high / wide.low))  # type: ignore[operator]
    assert {row(one, v).word for v in VARIANTS[1:]} == {"cheaper"}
    assert row(one, "F16").ratio.reason == "is the baseline"


def test_twice_the_hardware_for_a_third_more_speed_is_dearer() -> None:
    summary = build({"gpu_hour_usd": HOUR, "gpus": {"Q8_0": 2}})
    assert row(summary, "Q8_0").word == "dearer"


def test_a_load_that_one_of_both_lacks_gives_no_ratio() -> None:
    measured = [cell for cell in cells()
                if (cell.record["key"]["variant"], cell.record["key"]["subject"]) != ("F16", "short@c8")]
    found = row(build({"gpu_hour_usd": HOUR}, measured=measured), "Q8_0")
    assert (found.at, found.ratio.value, found.word) == ("short@c8", None, None)
    assert found.output.value is not None
    assert found.ratio.reason is not None
    assert found.ratio.reason.startswith("F16 has no figure of short@c8: ")


def test_with_an_slo_the_cost_is_that_of_the_highest_load_that_meets_it() -> None:
    summary = build({"gpu_hour_usd": HOUR}, slo={"ttft_ms": 60})
    held = {r.variant: r for r in summary.capacity}
    for name in VARIANTS:
        found, capacity = row(summary, name), held[name]
        assert found.basis == "slo"
        if capacity.output_throughput.value is None:
            assert found.output.reason == capacity.output_throughput.reason
            continue
        assert found.output.value == pytest.approx(1_000 / capacity.output_throughput.value)
        assert found.at is not None
        assert found.at.endswith(("streams", "streams or more"))
    assert any(row(summary, name).output.value for name in VARIANTS)
    assert "at the highest load that meets the SLO" in cost_notes(summary)[1]


def test_an_slo_that_nothing_meets_leaves_no_cost() -> None:
    summary = build({"gpu_hour_usd": HOUR}, slo={"ttft_ms": 0.001})
    for name in VARIANTS:
        found = row(summary, name)
        assert found.at is None
        assert (found.output.value, found.total.value, found.word) == (None, None, None)
        assert "does not meet the SLO" in (found.output.reason or "")


def test_input_tokens_that_were_not_counted_are_missing() -> None:
    found = row(build({"gpu_hour_usd": HOUR}, measured=cells(inputs=None)), "Q8_0")
    assert found.output.value is not None
    assert (found.input.value, found.blended.value) == (None, None)
    assert found.input.reason == "input tokens were not counted"


def test_making_is_spread_over_the_tokens_and_added() -> None:
    recipes = synthetic.artifacts()
    recipes["Q8_0"]["seconds"] = 7_200.0
    recipes["Q4_K_M"]["ready"] = True
    summary = build({"gpu_hour_usd": HOUR}, recipes=recipes, amortise_tokens=1e8)
    made, ready, old = (row(summary, name) for name in ("Q8_0", "Q4_K_M", "Q2_K"))
    assert made.making.value == pytest.approx(7.2 / 100)  # $7.20 over a hundred million tokens
    assert made.output.value is not None
    assert made.output.high is not None
    assert made.total.value == pytest.approx(made.output.value + 0.072)
    assert made.total.high == pytest.approx(made.output.high + 0.072)
    assert (ready.making.value, ready.total.value) == (None, None)
    assert "ready file" in (ready.making.reason or "")
    assert "does not say how long" in (old.making.reason or "")


def test_random_weights_cost_nothing_to_make_and_say_so() -> None:
    recipes = synthetic.artifacts()
    recipes["Q8_0"] |= {"seconds": 0.03, "weights": "random"}
    found = row(build({"gpu_hour_usd": HOUR}, recipes=recipes), "Q8_0")
    assert (found.making.value, found.total.value) == (None, None)
    assert found.making.reason == "random weights: nothing was quantized"


def test_one_block_has_a_cost_without_an_interval() -> None:
    measured = [cell for cell in cells() if cell.record["key"]["block"] == 0]
    found = row(build({"gpu_hour_usd": HOUR}, measured=measured), "Q8_0")
    assert found.output.value is not None
    assert (found.output.low, found.word) == (None, "inconclusive")
    assert found.output.reason is not None
