"""The roofline's rows from cells of known times, and what is said where there is none."""

import copy
from typing import Any

import pytest

from quantcheck.report.ceilings import ceiling_of, ceiling_words, computes_in
from quantcheck.report.markdown import render
from quantcheck.report.prose import environment_pairs
from quantcheck.report.summary import Summary
from quantcheck.report.view import build_summary
from quantcheck.stats.roofline import Ceiling
from tests.report.synthetic import FakeCell, experiment, load_cell

SIZES = {"layers": 4, "hidden": 256, "feed_forward": 1024, "heads": 4, "kv_heads": 2, "head_size": 64,
         "vocabulary": 4000, "tied": False}  # fmt: skip
LAYERS, TABLE = 2_000_000, 4000 * 256 * 2
VARIANTS = {"F16": 1, "Q4_K_M": 4}
BANDWIDTH, RATE = 20e9, 100e9


def rate(value: float) -> dict[str, float]:
    return {"low": value * 0.9, "median": value, "high": value * 1.1}


CEILINGS: dict[str, Any] = {
    "schema": 1,
    "cpu": [{"threads": 1, "copy": rate(BANDWIDTH / 2), "read": [{"bytes": 1 << 28, **rate(BANDWIDTH)}],
             "matrix": {"fp32": rate(RATE)}}],
    "cuda": {"missing": "not asked for"},
}  # fmt: skip


def artifacts(**changes: Any) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "scheme": f"gguf/{name}", "bytes": 1, "bits_per_weight": 16.0, "architecture": SIZES,
            "read_bytes": {"layers": LAYERS // smaller, "head": TABLE // smaller, "embedding": TABLE // smaller},
        } | changes
        for name, smaller in VARIANTS.items()
    }  # fmt: skip


def cells() -> list[FakeCell]:
    """F16 takes 0.4 ms a step at one stream, about twice the roofline's time; Q4_K_M is 1.5 times as fast."""
    found = []
    for name in VARIANTS:
        for block in range(3):
            for streams in (1, 8):
                cell = load_cell(name, f"short@c{streams}", block)
                step = 4e-4 * streams / (1.5 if name == "Q4_K_M" else 1.0)
                result = cell.record["result"]
                result |= {"prompt_tokens": 40 * 32, "output_tokens": 40 * 32, "concurrency": streams}
                result["metrics"] |= {"tpot": step, "output_throughput": streams / step, "concurrency": float(streams)}
                found.append(cell)
    return found


def build(found: list[FakeCell] | None = None, recipes: Any = None, ceilings: Any = CEILINGS, **more: Any) -> Summary:
    asked = experiment(**{"variants": {name: {"scheme": f"gguf/{name}"} for name in VARIANTS}, "quality": None,
                          "noise_floor": False, "blocks": 3, **more})  # fmt: skip
    return build_summary(asked, cells() if found is None else found, artifacts() if recipes is None else recipes,
                         {"ceilings": ceilings} if ceilings else {}, [])  # fmt: skip


def row(summary: Summary, load: str, variant: str) -> Any:
    return next(row for row in summary.roofline if (row.load, row.variant) == (load, variant))


def test_shares_of_the_ceilings() -> None:
    summary = build()
    base = row(summary, "short@c1", "F16")
    # Weights of layers and head, one row of the embedding, and 4 layers x 2 heads x 64 x 2 (K and V) x 2 bytes for
    # each of 32 + 16 tokens of context and the new one.
    moved = LAYERS + TABLE + 512 + 49 * 4 * 2 * 64 * 2 * 2
    assert base.bytes_per_token.value == moved
    assert base.mbu.value == pytest.approx(moved / BANDWIDTH / 4e-4)
    assert base.mbu.low == pytest.approx(base.mbu.value) == base.mbu.high  # all blocks alike
    layer = 2 * 256 * 256 + 2 * 128 * 256 + 3 * 1024 * 256
    flops = 2 * (4 * layer + 4000 * 256) + 4 * 48 * 4 * 64 * 4
    assert base.flops_per_token.value == flops
    assert base.mfu.value == pytest.approx(flops / RATE / 4e-4)
    assert base.bound == "memory"
    eight = row(summary, "short@c8", "F16")
    assert eight.bytes_per_token.value == (LAYERS + TABLE) / 8 + 512 + 49 * 4 * 2 * 64 * 2 * 2
    assert base.prefill_mfu.value is not None
    assert eight.prefill_mfu.value is None
    assert "waiting" in eight.prefill_mfu.reason


def test_ranks_of_a_tensor_parallel_engine_share_the_work() -> None:
    cuda = {"copy": rate(BANDWIDTH), "read": [{"bytes": 1 << 28, **rate(BANDWIDTH)}], "matrix": {"fp16": rate(RATE)}}
    one, two = (build(with_ranks(ranks), artifacts(scheme="awq"), {**CEILINGS, "cuda": cuda}, engine={"kind": "vllm"},
                      variants={name: {"scheme": "awq"} for name in VARIANTS}) for ranks in (1, 2))
    assert row(two, "short@c1", "F16").mbu.value == pytest.approx(row(one, "short@c1", "F16").mbu.value / 2)
    assert row(two, "short@c1", "Q4_K_M").mbu.value == row(one, "short@c1", "Q4_K_M").mbu.value
    assert row(two, "short@c1", "Q4_K_M").predicted.value < row(one, "short@c1", "Q4_K_M").predicted.value
    assert "on 1 GPU instead of 2" in row(two, "short@c1", "Q4_K_M").explanation
    assert "instead" not in row(one, "short@c1", "Q4_K_M").explanation


def with_ranks(ranks: int) -> list[FakeCell]:
    found = cells()
    for cell in found:
        if cell.record["key"]["variant"] == "F16":
            cell.record["result"].setdefault("engine", {})["tensor_parallel"] = ranks
    return found


def test_prediction_and_sentence() -> None:
    summary = build()
    quantized = row(summary, "short@c1", "Q4_K_M")
    assert quantized.measured.value == pytest.approx(1.5)
    assert 1 < quantized.predicted.value < 4
    assert quantized.crossover.value is not None or "never" in quantized.crossover.reason
    assert quantized.explanation.startswith("1.50x at batch 1, ")
    assert row(summary, "short@c1", "F16").predicted.reason == "is the baseline"
    told = {(line.workload, line.variant): line.sentence for line in summary.explanations}
    assert list(told) == [("short", "Q4_K_M")]
    assert "at batch 1" in told["short", "Q4_K_M"]
    assert "at batch 8" in told["short", "Q4_K_M"]


def test_a_ratio_that_may_be_none_is_told_with_its_interval() -> None:
    found = cells()
    for block, cell in enumerate(c for c in found if c.record["key"]["variant"] == "Q4_K_M"):
        cell.record["result"]["metrics"]["output_throughput"] *= (0.5, 0.7, 0.9)[block // 2]
    summary = build(found)
    low, high = (getattr(row(summary, "short@c1", "Q4_K_M").measured, end) for end in ("low", "high"))
    assert low < 1 < high
    assert f"x (95% CI {low:.1f} to {high:.1f}) at batch 1, " in row(summary, "short@c1", "Q4_K_M").explanation
    assert "(95% CI" in summary.explanations[0].sentence
    assert "(95% CI" not in build().explanations[0].sentence


def test_the_report_shows_it() -> None:
    text = render(build())
    assert "## Why: the roofline" in text
    assert "| short@c1 | F16 | 1 | 4.15 MB |" in text
    assert "ceilings.cpu, 1 thread" in text
    assert "roofline" not in [item.what for item in build().not_measured]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"ceilings": None}, "ceilings were not measured"),
        ({"recipes": {name: {"scheme": "x"} for name in VARIANTS}}, "older version"),
        ({"recipes": artifacts(architecture=None)}, "not Llama-like"),
        ({"engine": {"kind": "llama.cpp"}, "ceilings": {**CEILINGS, "cpu": []}}, "with 1 threads"),
    ],
)
def test_without_a_roofline_the_reason_is_given(changed: dict[str, Any], reason: str) -> None:
    summary = build(**changed)
    assert summary.roofline == []
    assert summary.explanations == []
    assert [item.reason for item in summary.not_measured if item.what == "roofline" and reason in item.reason]
    assert "roofline" not in render(summary).split("## What was not measured")[0]


def test_one_load_without_figures_is_missing_alone() -> None:
    found = copy.deepcopy(cells())
    for cell in found:
        if cell.record["key"]["variant"] == "Q4_K_M" and cell.record["key"]["subject"] == "short@c8":
            del cell.record["result"]["metrics"]["tpot"]
    summary = build(found)
    gone = row(summary, "short@c8", "Q4_K_M")
    assert gone.mbu.value is None
    assert "time per output token" in gone.reason
    assert row(summary, "short@c1", "Q4_K_M").mbu.value is not None
    assert "n/a" in render(summary)


def test_the_ceiling_of_a_working_set() -> None:
    reads = [{"bytes": 1 << 20, **rate(80e9)}, {"bytes": 1 << 28, **rate(20e9)}]
    found = {"cpu": [{"threads": 2, "copy": rate(15e9), "read": reads, "matrix": {"fp32": rate(1e11)}}]}

    def at(size: float) -> Any:
        return ceiling_of(found, cuda=False, threads=2, scheme="gguf/Q8_0", working_set=size)

    assert at(1 << 10) == Ceiling(80e9, 1e11)
    assert at(1 << 24).bandwidth == pytest.approx(50e9)  # half way on the log scale
    assert at(1 << 33) == Ceiling(20e9, 1e11)
    assert "with 3 threads" in str(ceiling_of(found, cuda=False, threads=3, scheme="", working_set=1))


def test_the_gpus_rates_by_format() -> None:
    device = {"name": "H200", "copy": rate(4e12), "read": [{"bytes": 1 << 30, **rate(3e12)}],
              "matrix": {"fp16": rate(7e14)}, "missing": {"fp8": "no such kernel"}}  # fmt: skip
    found = {"cuda": device}
    assert ceiling_of(found, cuda=True, threads=None, scheme="awq", working_set=1e9) == Ceiling(4e12, 7e14)
    assert ceiling_of(found, cuda=True, threads=None, scheme="fp8-dynamic", working_set=1e9) == (
        "the rate of fp8 arithmetic was not measured: no such kernel")
    assert "torch is not installed" in str(ceiling_of(
        {"cuda": {"missing": "torch is not installed"}}, cuda=True, threads=None, scheme="awq", working_set=1))
    assert [computes_in(s, cuda=True) for s in ("w4a16", "w8a8-int8", "bf16")] == ["fp16", "int8", "bf16"]
    assert computes_in("gguf/Q4_K_M", cuda=False) == "fp32"
    assert list(ceiling_words(found)) == ["H200"]


def test_ceilings_are_lines_of_the_environment() -> None:
    pairs = environment_pairs({"cpu": "x", "ceilings": CEILINGS})
    assert pairs["ceilings.cpu, 1 thread"] == (
        "copies 10 (9-11) GB/s, reads 20 (18-22) GB/s of 256 MiB, fp32 0.1 TFLOP/s")
