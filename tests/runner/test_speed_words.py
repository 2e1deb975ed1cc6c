"""Words for known speeds, from whole runs on the fake engine."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantcheck
from quantcheck import Experiment
from quantcheck.report.summary import SpeedRow, Summary

pytestmark = pytest.mark.alone

MARGIN = 0.02


def experiment(speed: float, blocks: int, *, twin: bool = False) -> Experiment:
    """b is `speed` times as fast as a: nearly all of an answer's 100 ms is scripted, so the machine matters little."""
    return Experiment.model_validate({
        "name": "x", "model": "none", "baseline": "a", "blocks": blocks, "noise_floor": twin,
        "variants": {"a": {"scheme": "gguf/F16"}, "b": {"scheme": "gguf/Q8_0"}},
        "engine": {"kind": "fake", "ttft_ms": 20, "itl_ms": 5, "speed": {"b": speed}},
        "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 17}}, "concurrency": [2], "requests": 8,
                 "warmup_requests": 1},
        "policy": {"margin": {"throughput_ratio": MARGIN}, "slo": {"ttft_ms": 500, "itl_ms": 100}},
    })  # fmt: skip


def throughput(summary: Summary) -> SpeedRow:
    return next(r for r in summary.speed if (r.variant, r.metric) == ("b", "output_throughput"))


def test_ten_percent_faster_is_found_and_held(tmp_path: Path) -> None:
    row = throughput(quantcheck.run(experiment(1.10, 4), tmp_path / "out").summary)
    assert row.word == "faster"
    assert row.ratio.low is not None
    assert row.ratio.high is not None
    # What a request takes beside the script (reading, sending) is not scaled, and shortens the truth by its share.
    assert row.ratio.low - 0.01 <= 1.10 <= row.ratio.high + 0.01


def test_equal_variants_show_no_difference_once_the_planned_blocks_ran(tmp_path: Path) -> None:
    out = tmp_path / "out"
    blocks = 3
    summary = quantcheck.run(experiment(1.0, blocks), out).summary
    while throughput(summary).word == "inconclusive" and blocks < 12:
        more = throughput(summary).more_blocks
        assert more is not None, throughput(summary).reason
        blocks = min(blocks + more, 12)
        summary = quantcheck.run(experiment(1.0, blocks), out).summary
    row = throughput(summary)
    assert row.word == "no detectable difference"
    assert row.ratio.value == pytest.approx(1.0, abs=MARGIN)


def test_the_order_of_a_block_and_its_drift_reach_the_summary(tmp_path: Path) -> None:
    summary = quantcheck.run(experiment(1.0, 2, twin=True), tmp_path / "out").summary
    assert [row.block for row in summary.blocks] == [0, 1]
    assert all(row.drift.value is not None and abs(row.drift.value) < np.log(1.2) for row in summary.blocks)
    row: Any = next(r for r in summary.capacity if r.variant == "a")
    assert (row.bound, row.highest.value, row.unit) == ("at least", 2.0, "streams")
    goodput = next(r for r in summary.speed if (r.variant, r.metric) == ("a", "goodput"))
    requests = next(r for r in summary.speed if (r.variant, r.metric) == ("a", "request_throughput"))
    assert goodput.value.value == pytest.approx(requests.value.value)
