"""Rows of speed from cells: drift and the blocks it takes away, goodput, means over loads, capacity, degradation."""

from typing import Any

import numpy as np
import pytest

from quantcheck.report.blocks import drift_lines
from quantcheck.report.markdown import render
from quantcheck.report.requests import read_requests, token_gaps
from quantcheck.report.summary import CapacityRow, Summary
from quantcheck.report.view import build_summary
from quantcheck.spec.experiment import Experiment
from tests.report import synthetic
from tests.report.synthetic import FakeCell, key

STREAMS = (1, 2, 4, 8, 16)
VARIANTS = {"base": 1.0, "fast": 2.0}
BLOCKS = 4
SLO = {"ttft_ms": 100.0, "share": 0.9}
REQUESTS = 200


def experiment(**changes: Any) -> Experiment:
    return Experiment.model_validate({
        "name": "x", "model": "none", "baseline": "base", "engine": {"kind": "fake"}, "blocks": BLOCKS,
        "variants": {name: {"scheme": "gguf/F16"} for name in VARIANTS},
        "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 5}}, "concurrency": list(STREAMS)},
        "policy": {"slo": SLO}, **changes,
    })  # fmt: skip


def cell(entry: str, streams: int, block: int, *, slower: float = 1.0, knee: float = 4.0) -> FakeCell:
    """TTFT is 100 ms / knee for every stream, spread by 10%: with capacity `knee` half the requests are good."""
    speed = VARIANTS[entry.removesuffix("@again")] / slower
    rng = np.random.RandomState(block * 100 + streams)
    ttft = 0.1 * streams / (knee * speed) * rng.normal(1, 0.1, REQUESTS)
    itl = 0.01 * streams**0.25 / speed
    sent = np.linspace(0, 10, REQUESTS)
    first = sent + ttft
    last = first + 4 * itl
    at = (first[:, None] + np.arange(5) * itl).ravel()
    rate = REQUESTS / 10 * speed
    result = {
        "requests": REQUESTS, "outcomes": {"ok": REQUESTS}, "rate": None, "window_s": 20.0, "missing": {},
        "metrics": {"output_throughput": 100 * streams**0.5 * speed, "input_throughput": 8 * streams**0.5 * speed,
                    "request_throughput": rate, "ttft": float(np.median(ttft)), "itl": itl, "tpot": itl,
                    "e2e": float(np.median(ttft)) + 4 * itl},
    }  # fmt: skip
    requests = {
        "request": np.arange(REQUESTS), "stream": np.zeros(REQUESTS, int), "phase": np.full(REQUESTS, "measured"),
        "prompt_tokens": np.full(REQUESTS, 8), "output_tokens": np.full(REQUESTS, 5),
        "due_s": np.full(REQUESTS, np.nan), "sent_s": sent, "first_s": first, "last_s": last, "end_s": last,
        "outcome": np.full(REQUESTS, "ok"),
    }  # fmt: skip
    chunks = {"request": np.repeat(np.arange(REQUESTS), 5), "at_s": at, "tokens": np.ones(5 * REQUESTS, int)}
    record = {"schema": 1, "key": key("load", entry, f"s@c{streams}", block), "result": result}
    return FakeCell(record, {"requests": requests, "chunks": chunks})


def cells(**changes: Any) -> list[FakeCell]:
    return [cell(entry, streams, block, **changes) for entry in ("base", "base@again", "fast")
            for streams in STREAMS for block in range(BLOCKS)]  # fmt: skip


def build(found: list[FakeCell], **changes: Any) -> Summary:
    return build_summary(experiment(**changes), found, {}, {}, [])


def of(found: FakeCell, **wanted: Any) -> bool:
    return all(found.record["key"][name] == value for name, value in wanted.items())


def capacity(summary: Summary, variant: str) -> CapacityRow:
    rows = [row for row in summary.capacity if row.variant == variant]
    assert len(rows) == 1
    return rows[0]


def drifting(size: float, blocks: tuple[int, ...]) -> list[FakeCell]:
    """The cells of a machine that is slower by `size` at the end of some blocks: the twin's, or the baseline's."""
    late = [("base@again" if block % 2 == 0 else "base", block) for block in blocks]
    return [cell(entry, streams, block, slower=1 + size if (entry, block) in late else 1.0)
            for entry in ("base", "base@again", "fast") for streams in STREAMS for block in range(BLOCKS)]  # fmt: skip


def test_the_machines_drift_is_told_with_its_sign() -> None:
    rows = build(drifting(0.1, (1, 2))).blocks
    assert [row.drift.value for row in rows] == pytest.approx([0, -np.log(1.1), -np.log(1.1), 0], abs=1e-12)
    assert all(row.invalid_for == [] for row in rows)  # the variant is twice as fast


def test_a_block_whose_drift_exceeds_the_effect_is_left_out_and_says_so() -> None:
    found = drifting(1.5, (2,))
    summary = build(found)
    assert [row.invalid_for for row in summary.blocks] == [[], [], ["fast"], []]
    row = next(r for r in summary.speed if (r.variant, r.load, r.metric) == ("fast", "s@c4", "output_throughput"))
    assert (row.blocks, row.word) == (3, "faster")
    assert row.ratio.value == pytest.approx(2.0)  # what the other blocks say
    assert row.reason == "block 3 left out: the baseline itself changed by -60.0% meanwhile"
    assert summary.variants[1].speed.blocks == 3
    assert capacity(summary, "fast").blocks == 3
    assert "Block 3 (-60.0%) is left out for fast" in drift_lines(summary)[1]
    assert "is left out for fast" in render(summary)
    # The noise floor holds all blocks: it shows what the machine did.
    floor = next(r for r in summary.noise_floor if r.subject == "all loads")
    assert floor.n == 4


def test_all_blocks_drifting_leaves_no_word_to_trust() -> None:
    summary = build(drifting(4.0, (0, 1, 2, 3)))
    speed = summary.variants[1].speed
    assert (speed.word, speed.ratio.value) == ("inconclusive", None)
    assert speed.reason is not None
    assert speed.reason.startswith("blocks 1, 2, 3, 4 left out")


def test_when_a_cell_was_measured_decides_which_end_it_is() -> None:
    found = drifting(0.1, (0,))
    for one in found:
        if of(one, block=0):
            one.record["started_at"] = 10.0 if of(one, variant="base") else 5.0
    assert build(found).blocks[0].drift.value == pytest.approx(np.log(1.1))


def test_a_drift_that_comes_each_time_is_a_noise_floor() -> None:
    """Every second measurement of the baseline is 30% slower: equal variants differ from the mean by half of that."""
    found = drifting(0.3, tuple(range(BLOCKS)))
    for one in found:
        if of(one, variant="fast"):
            one.record["result"]["metrics"]["output_throughput"] /= 2.0 / (1 + 0.001 * one.record["key"]["block"])
    summary = build(found, policy={"margin": {"throughput_ratio": 0.02}})
    row = next(r for r in summary.speed if (r.variant, r.metric) == ("fast", "output_throughput"))
    assert row.word == "inconclusive"


def test_without_a_twin_there_is_no_drift_and_nothing_is_left_out() -> None:
    found = [one for one in drifting(1.5, (2,)) if not of(one, variant="base@again")]
    summary = build(found)
    assert {row.drift.reason for row in summary.blocks} == {"the baseline's second measurement is missing"}
    assert summary.variants[1].speed.blocks == BLOCKS
    assert drift_lines(summary) == []
    assert build(found, noise_floor=False).blocks == []


def test_capacity_of_a_known_knee() -> None:
    summary = build(cells())
    base, fast = capacity(summary, "base"), capacity(summary, "fast")
    # 90% are good where 100 ms is 1.28 standard deviations above the mean: between 2 and 4 streams, 4 and 8.
    assert base.bound == fast.bound == "exact"
    assert base.highest.value is not None
    assert 2 < base.highest.value < 4
    assert fast.highest.value is not None
    assert 4 < fast.highest.value < 8
    assert fast.ratio.value == pytest.approx(2.0, rel=0.06)
    assert fast.word == "faster"
    # Throughput grows with the square root of the streams.
    assert base.output_throughput.value == pytest.approx(100 * base.highest.value**0.5, rel=1e-3)
    assert base.input_throughput.value == pytest.approx(8 * base.highest.value**0.5, rel=1e-3)
    assert "Highest load that meets the SLO" in render(summary)


def test_capacity_beyond_the_ladder_is_a_bound() -> None:
    summary = build(cells(knee=20.0))
    base, fast = capacity(summary, "base"), capacity(summary, "fast")
    assert base.bound == "exact" if base.highest.value != 16 else "at least"
    assert (fast.bound, fast.highest.value, fast.highest.low) == ("at least", 16.0, None)
    assert fast.ratio.value is None
    assert fast.output_throughput.value == pytest.approx(800.0)


def test_more_than_the_ladder_is_still_faster_than_a_baseline_within_it() -> None:
    summary = build(cells(knee=10.0))
    fast = capacity(summary, "fast")
    assert (fast.bound, fast.word) == ("at least", "faster")
    assert fast.ratio.reason is not None
    assert fast.ratio.reason.startswith("at least 1.")


def test_capacity_below_the_ladder_is_said() -> None:
    summary = build(cells(knee=0.3))
    base = capacity(summary, "base")
    assert (base.bound, base.highest.value) == ("below", None)
    assert base.highest.reason == "1 stream, the lowest load measured, does not meet the SLO"
    assert base.output_throughput.value is None
    assert capacity(summary, "fast").word == "inconclusive"


def test_without_an_slo_there_is_no_capacity_and_no_goodput() -> None:
    summary = build(cells(), policy={})
    assert summary.capacity == []
    assert "goodput" not in {row.metric for row in summary.speed}


def test_failed_requests_are_bad() -> None:
    found = cells()
    for one in found:
        if of(one, variant="fast"):
            one.tables["requests"]["outcome"] = np.where(np.arange(REQUESTS) % 4 == 0, "stalled", "ok")
    assert capacity(build(found), "fast").bound == "below"


def test_goodput_counts_good_requests_that_ended_in_the_window() -> None:
    summary = build(cells())
    row = next(r for r in summary.speed if (r.variant, r.load, r.metric) == ("base", "s@c1", "goodput"))
    assert row.value.value == pytest.approx(REQUESTS / 20.0)
    none = next(r for r in summary.speed if (r.variant, r.load, r.metric) == ("base", "s@c16", "goodput"))
    assert none.value.reason == "no request met the SLO"


def test_every_metric_has_a_mean_over_loads() -> None:
    summary = build(cells())
    rows = {row.metric: row for row in summary.speed_means}
    assert {row.variant for row in summary.speed_means} == {"fast"}
    assert rows["output_throughput"].ratio.value == pytest.approx(2.0)
    assert rows["itl"].ratio.value == pytest.approx(0.5)
    assert rows["itl"].word == "faster"
    assert rows["ttft"].ratio.value == pytest.approx(0.5)
    assert rows["ttft"].loads == len(STREAMS)
    assert "### All loads" in render(summary)


def test_degradation_is_the_itl_over_that_of_the_lowest_load() -> None:
    rows = build(cells()).degradation
    assert [(row.load, row.variant) for row in rows[:3]] == [("s@c2", "base"), ("s@c2", "fast"), ("s@c4", "base")]
    assert rows[-1].ratio.value == pytest.approx(2.0)
    assert rows[-1].lowest == "s@c1"


def test_percentiles_of_itl_come_from_the_chunks() -> None:
    row = next(r for r in build(cells()).loads if (r.load, r.variant) == ("s@c16", "base"))
    found = {p.percentile: p.value for p in row.percentiles if p.metric == "itl"}
    assert found["p95"].value == pytest.approx(0.02)
    assert found["p99"].value == pytest.approx(0.02)  # 800 requests


def test_a_chunk_of_several_tokens_counts_once_per_token() -> None:
    table = {name: np.array(values) for name, values in {
        "request": [3, 5, 7], "outcome": ["ok", "ok", "reset"], "phase": ["measured", "tail", "measured"],
        "sent_s": [0.0, 0.0, 0.0], "first_s": [1.0, 1.0, 1.0], "last_s": [2.0, 2.0, 2.0], "end_s": [2.0, 2.0, 2.0],
        "output_tokens": [6, 2, 2],
    }.items()}  # fmt: skip
    chunks = {"request": np.array([3, 3, 3, 5, 5, 7, 7]), "tokens": np.array([1, 4, 1, 1, 1, 1, 1]),
              "at_s": np.array([1.0, 1.8, 2.0, 1.0, 2.0, 1.0, 2.0])}  # fmt: skip
    gaps = token_gaps(read_requests({"window_s": 2.0}, table), chunks)
    assert gaps == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.2])


@pytest.mark.parametrize("ranks", [None, 1, 2])
def test_the_cache_of_a_tensor_parallel_engine_is_that_of_all_its_ranks(ranks: int | None) -> None:
    cells = synthetic.cells(quality=False)
    for cell in cells:
        cell.record["result"].setdefault("engine", {})["tensor_parallel"] = ranks
    found = build_summary(synthetic.experiment(quality=None), cells, synthetic.artifacts(), synthetic.ENVIRONMENT, [])
    assert {row.kv_cache_bytes.value for row in found.memory} == {4.2e6 * (ranks or 1)}
    assert found.memory[0].weights_bytes.value == synthetic.TRUTH["F16"]["bytes"]
