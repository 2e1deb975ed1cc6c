"""Memory by arithmetic: the stored runs' caches come out as measured, and what is not known says why."""

from typing import Any

import pytest

from quantcheck.report.cells import CellIndex
from quantcheck.report.predicted_memory import predicted_memory_rows
from quantcheck.report.summary import PredictedMemoryRow
from tests.report import synthetic
from tests.report.synthetic import FakeCell

# Of the two models whose runs are stored: sizes, what the engine said, and the cache that it reserved.
REFERENCE = {"layers": 8, "hidden": 256, "feed_forward": 768, "heads": 8, "kv_heads": 4, "head_size": 32,
             "vocabulary": 4096}
MISTRAL = {"layers": 32, "hidden": 4096, "feed_forward": 14336, "heads": 32, "kv_heads": 8, "head_size": 128,
           "vocabulary": 32768}
LLAMA_CPP = ({"slots": 4, "context_per_slot": 256}, 4_194_304)
VLLM = ({"kv_cache_tokens": 476_672, "kv_bytes_per_value": 2.0}, 62_481_036_739)


def first(engine: dict[str, Any], recipe: dict[str, Any], **changes: Any) -> PredictedMemoryRow:
    cell = synthetic.load_cell("F16", "short@c8", 0)
    cell.record["result"]["engine"] = engine
    cells: list[FakeCell] = [cell]
    rows = predicted_memory_rows(CellIndex(synthetic.experiment(**changes), cells, []), {"F16": recipe})
    return rows[0]


@pytest.mark.parametrize(("shape", "engine", "measured"), [(REFERENCE, *LLAMA_CPP), (MISTRAL, *VLLM)])
def test_the_cache_is_what_the_engines_reserved(
    shape: dict[str, int], engine: dict[str, Any], measured: int
) -> None:
    row = first(engine, {"bytes": 7, "architecture": shape})
    assert row.kv_cache_bytes.value == pytest.approx(measured, rel=1e-4)
    assert row.weights_bytes.value == 7


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
ASYMMETRIC = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {
    "num_bits": 4, "group_size": 128, "symmetric": False, "strategy": "group"}}}}
FILES, HELD = 4_163_379_200, 4_284_229_878
"""Of Mistral-7B's shape in AWQ: what the files hold, and the log's 3.99 GiB of a start on an H200 (vLLM 0.25.1)."""


@pytest.mark.parametrize("quantization", [AWQ, ASYMMETRIC])
def test_zero_points_that_machete_widens_are_counted(quantization: dict[str, Any]) -> None:
    recipe = {"bytes": FILES, "architecture": {**MISTRAL, "tied": False}, "parameters": 7_247_757_312,
              "quantization": quantization}
    row = first({"kernels": {"AutoAWQMarlinLinearMethod": "MacheteLinearKernel"}}, recipe)
    # By hand: groups of 128 in the seven matrices of 32 layers, 2 bytes for half of one.
    matrices = 32 * (2 * 4096 * 4096 + 2 * 1024 * 4096 + 3 * 14336 * 4096)
    assert row.weights_bytes.value == FILES + matrices // 128 * 3 / 2
    assert row.weights_bytes.value == pytest.approx(HELD, rel=0.01)


@pytest.mark.parametrize(("kernel", "quantization"), [
    ("MarlinLinearKernel", AWQ), (None, AWQ), ("MacheteLinearKernel", {**AWQ, "zero_point": False}),
    ("MacheteLinearKernel", None), ("MacheteLinearKernel", {"config_groups": {"group_0": {"weights": None}}}),
    ("MacheteLinearKernel", {**AWQ, "group_size": -1}),
])
def test_no_other_kernel_or_format_widens(kernel: str | None, quantization: dict[str, Any] | None) -> None:
    recipe = {"bytes": FILES, "architecture": MISTRAL, "parameters": 7_247_757_312, "quantization": quantization}
    row = first({"kernels": {"Layer": kernel}} if kernel else {}, recipe)
    assert row.weights_bytes.value == FILES


def test_what_is_needed_is_the_fullest_load_in_whole_blocks() -> None:
    load = {"workloads": {"a": {"prompt_tokens": 30, "output_tokens": 10}}, "concurrency": [1, 8], "rate": [99]}
    row = first({}, {"architecture": REFERENCE}, load=load)
    assert row.kv_held_tokens.value == 8 * 48
    assert row.kv_needed_bytes.value == 8 * 48 * 2 * 8 * 4 * 32 * 2


def test_what_is_not_known_says_why() -> None:
    load = {"workloads": {"a": {"prompt_tokens": 30, "output_tokens": 10}}, "concurrency": [], "rate": [1]}
    row = first({}, {}, load=load)
    assert row.weights_bytes.reason == "the recipe does not say how large the weights are"
    assert row.kv_cache_bytes.reason == row.kv_bytes_per_token.reason
    assert row.kv_held_tokens.reason == "no load has fixed lengths and a fixed number of requests at once"


def test_without_a_load_nothing_is_predicted() -> None:
    index = CellIndex(synthetic.experiment(load=None), [synthetic.task_cell("F16", "reference/arithmetic")], [])
    assert predicted_memory_rows(index, synthetic.artifacts()) == []
