"""What memory should hold by arithmetic alone, to stand beside what was measured of it.

Weights: the bytes of the files, and what the engine's kernel widens of them. A token's keys and values: 2 x layers x
heads of keys x head size x bytes a value, for a Llama-like model. The cache: that, times the tokens that the engine
says it has room for.
"""

from collections.abc import Mapping
from typing import Any

from quantcheck.report.cells import CellIndex
from quantcheck.report.gpu_memory import KV_BLOCK
from quantcheck.report.row import Figure
from quantcheck.report.summary import PredictedMemoryRow
from quantcheck.stats.roofline import Shape

__all__ = ["KV_BYTES", "predicted_memory_rows"]

KV_BYTES = 2.0
"""Of a key or value, unless the engine says otherwise: 16 bits are the default of llama.cpp and vLLM."""

MACHETE = "MacheteLinearKernel"
WIDE_BYTES = 2
"""Of a zero point that a kernel has widened to the activations' type, float16 or bfloat16."""


def predicted_memory_rows(index: CellIndex, artifacts: Mapping[str, Mapping[str, Any]]) -> list[PredictedMemoryRow]:
    """A row per variant; none without a load, as nothing is measured then that could stand beside it."""
    return [_row(index, name, artifacts.get(name, {})) for name in index.variants] if index.loads else []


def _row(index: CellIndex, variant: str, recipe: Mapping[str, Any]) -> PredictedMemoryRow:
    engines = [cell.record["result"].get("engine", {}) for cell in index.load_cells(variant)]
    engine = engines[0] if engines else {}
    size = recipe.get("bytes")
    weights = (Figure(value=float(size) + _widened(recipe, engine)) if size
               else Figure(reason="the recipe does not say how large the weights are"))
    token = _token_bytes(recipe, engine)
    room, held = _room(engine), _held(index)
    return PredictedMemoryRow(
        variant=variant, weights_bytes=weights, kv_bytes_per_token=token, kv_room_tokens=room, kv_held_tokens=held,
        kv_cache_bytes=_times(token, room), kv_needed_bytes=_times(token, held),
    )  # fmt: skip


def _widened(recipe: Mapping[str, Any], engine: Mapping[str, Any]) -> float:
    """Bytes that vLLM's Machete kernel (Hopper) adds to the files' when it loads a format with zero points.

    It multiplies each packed zero point by its scale and keeps the product in the activations' type: 2 bytes instead of
    `bits / 8`, one for each group of weights (`transform_w_zp` in vLLM's `kernels/linear/mixed_precision/machete.py`,
    read in 0.25.1 and 0.32). Marlin packs them again. Of Mistral-7B's shape in AWQ with groups of 128 that is 82 MB:
    4.245 GB, where its log says 3.99 GiB (4.284 GB); 8 MB more are the table of rotary angles, which is no weight, and
    the last 31 MB lie within what PyTorch's allocator rounds up (not measured).
    """
    shape, parameters = Shape.read(recipe.get("architecture") or {}), recipe.get("parameters")
    found = _zero_points(recipe.get("quantization"))
    if MACHETE not in (engine.get("kernels") or {}).values() or shape is None or not parameters or found is None:
        return 0.0
    bits, group = found
    tables = (1 if shape.tied else 2) * shape.vocabulary * shape.hidden
    return float((parameters - tables) / group * (WIDE_BYTES - bits / 8))


def _zero_points(quantization: Any) -> tuple[int, int] | None:
    """(bits, group size) of a format with a zero point for each group of weights; None for any other."""
    if not isinstance(quantization, Mapping):
        return None
    groups = quantization.get("config_groups")
    first: Any = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
    inner = first.get("weights") if isinstance(first, Mapping) else None
    bits, group, has = (
        (inner.get("num_bits"), inner.get("group_size"), inner.get("symmetric") is False) if inner
        else (quantization.get("bits"), quantization.get("group_size"), quantization.get("zero_point") is True)
    )
    return (bits, group) if has and isinstance(bits, int) and isinstance(group, int) and group > 0 else None


def _token_bytes(recipe: Mapping[str, Any], engine: Mapping[str, Any]) -> Figure:
    shape = Shape.read(recipe.get("architecture") or {})
    if shape is None:
        return Figure(reason="the recipe does not say that the model is Llama-like")
    value = float(engine.get("kv_bytes_per_value") or KV_BYTES)
    return Figure(value=2 * shape.layers * shape.kv_heads * shape.head_size * value)


def _room(engine: Mapping[str, Any]) -> Figure:
    """Tokens that the engine's cache holds: vLLM counts them, llama.cpp has so many for each slot."""
    if tokens := engine.get("kv_cache_tokens"):
        return Figure(value=float(tokens))
    slots, each = engine.get("slots"), engine.get("context_per_slot")
    if slots and each:
        return Figure(value=float(slots * each))
    return Figure(reason="the engine does not tell how many tokens its KV cache holds")


def _held(index: CellIndex) -> Figure:
    """Tokens of the fullest load with a fixed number of streams, every request at its full length, in whole blocks."""
    load, held = index.experiment.load, []
    for point in load.points() if load else ():
        prompt, output = point.workload.prompt_tokens, point.workload.output_tokens
        if point.concurrency is not None and isinstance(prompt, int) and isinstance(output, int):
            held.append(point.concurrency * -(-(prompt + output) // KV_BLOCK) * KV_BLOCK)
    if not held:
        return Figure(reason="no load has fixed lengths and a fixed number of requests at once")
    return Figure(value=float(max(held)))


def _times(bytes_each: Figure, tokens: Figure) -> Figure:
    if bytes_each.value is None or tokens.value is None:
        return Figure(reason=bytes_each.reason or tokens.reason)
    return Figure(value=bytes_each.value * tokens.value)
