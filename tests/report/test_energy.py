"""Energy per token: the ratio that was put in, its words, and why it is missing where it is."""

import io
import math
from typing import Any

import pytest

from quantcheck.report import terminal
from quantcheck.report.summary import EnergyRow, Summary
from quantcheck.report.view import build_summary
from tests.report import synthetic
from tests.report.synthetic import FakeCell
from tests.report.test_view import SCENARIOS, build, of


def row(summary: Summary, variant: str, load: str = "short@c1") -> EnergyRow:
    return next(r for r in summary.energy if (r.variant, r.load) == (variant, load))


def gpu_cells(gpus: int = 1) -> list[FakeCell]:
    return synthetic.on_gpu(synthetic.cells(quality=False), gpus)


def gpu_summary(cells: list[FakeCell]) -> Summary:
    return build(cells, quality=None)


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_ratio_that_was_put_in_comes_out(gpus: int) -> None:
    summary = gpu_summary(gpu_cells(gpus))
    truth = 0.5 + 0.5 * 5.1 / 16.01
    for load in (*synthetic.LOADS, "all loads"):
        found = row(summary, "Q4_K_M", load)
        assert found.word == "less energy"
        assert found.ratio.value == pytest.approx(truth, rel=0.02)
        assert found.ratio.low is not None
        assert found.ratio.high is not None
        assert found.ratio.low < found.ratio.value < found.ratio.high
        assert found.blocks == synthetic.BLOCKS
    assert row(summary, "F16").joules_per_token.value == pytest.approx(0.05, rel=0.02)
    assert row(summary, "F16").power_w.value == pytest.approx(300.0 * gpus)
    assert row(summary, "F16").ratio.value is None


def test_all_loads_is_the_geometric_mean_of_the_loads() -> None:
    summary = gpu_summary(gpu_cells())
    ratios = [row(summary, "Q8_0", load).ratio.value or 0.0 for load in synthetic.LOADS]
    assert row(summary, "Q8_0", "all loads").ratio.value == pytest.approx(math.sqrt(math.prod(ratios)))


def test_more_energy_is_called_so() -> None:
    cells = gpu_cells()
    for cell in cells:
        if of(cell, variant="Q8_0"):
            cell.record["result"]["metrics"]["joules_per_token"] *= 2
    assert row(gpu_summary(cells), "Q8_0").word == "more energy"


def test_nothing_is_said_of_energy_without_a_gpu() -> None:
    assert SCENARIOS["whole"].energy == []
    assert "nergy" not in terminal.render(SCENARIOS["whole"], io.StringIO(), width=100)


def test_vllm_on_a_machine_with_gpus_that_told_nothing_is_said_to_be_not_measured() -> None:
    cells = synthetic.cells(quality=False)
    changes = {"engine": {"kind": "vllm"}, "quality": None, "variants": {"F16": {}, "Q8_0": {"scheme": "fp8-dynamic"}}}
    machine = {**synthetic.ENVIRONMENT, "gpus": [{"name": "Imaginary GPU"}]}

    def told(environment: dict[str, Any], cells: list[FakeCell]) -> list[str]:
        summary = build_summary(synthetic.experiment(**changes), cells, synthetic.artifacts(), environment, [])
        return [row.reason for row in summary.not_measured if row.what == "energy and GPU memory"]

    assert told(machine, cells) == ["no GPU telemetry in the stored cells"]
    assert told(synthetic.ENVIRONMENT, cells) == []
    assert told(machine, synthetic.on_gpu(cells)) == []


def test_a_gpu_that_tells_no_energy_is_missing_in_nvmls_words() -> None:
    cells = gpu_cells()
    for cell in cells:
        if of(cell, variant="Q8_0"):
            del cell.record["result"]["metrics"]["joules_per_token"]
            gpu = cell.record["telemetry"]["gpu"]
            gpu["gpus"][0]["power_w"] = None
            gpu["energy_j"] = None
            gpu["missing"] = {"gpu 0: energy_j": "Not Supported", "gpu 0: power_w": "No Permission"}
    found = row(gpu_summary(cells), "Q8_0")
    assert (found.joules_per_token.reason, found.ratio.reason, found.word) == ("gpu 0: Not Supported",) * 2 + (None,)
    assert found.power_w.reason == "gpu 0: No Permission"
    assert row(gpu_summary(cells), "Q4_K_M").word == "less energy"


def test_a_variant_without_telemetry_and_one_without_cells_say_so() -> None:
    cells = [cell for cell in gpu_cells() if not of(cell, variant="Q2_K")]
    for cell in cells:
        if of(cell, variant="Q8_0"):
            del cell.record["telemetry"], cell.record["result"]["metrics"]["joules_per_token"]
    summary = gpu_summary(cells)
    assert row(summary, "Q8_0").reason == "no GPU telemetry in the stored cells"
    assert row(summary, "Q2_K").reason == "no result stored"


def test_without_the_baselines_energy_the_ratio_says_whose_is_missing() -> None:
    cells = gpu_cells()
    for cell in cells:
        if of(cell, variant="F16") or of(cell, variant=synthetic.AGAIN):
            del cell.record["telemetry"], cell.record["result"]["metrics"]["joules_per_token"]
    found = row(gpu_summary(cells), "Q4_K_M")
    assert found.joules_per_token.value is not None
    assert found.ratio.reason == "F16: no GPU telemetry in the stored cells"


def test_the_terminal_gives_a_line_for_each_variant() -> None:
    text = terminal.render(SCENARIOS["on a GPU"], io.StringIO(), width=100)
    assert "- Q4_K_M: 0.66x (0.65-0.66) at all loads, less energy" in text
