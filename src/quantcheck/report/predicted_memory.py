"""What memory should hold by arithmetic alone, to stand beside what was measured of it.

Weights: the bytes of the files. A token's keys and values: 2 x layers x heads of keys x head size x bytes a value, for
a Llama-like model. The cache: that, times the tokens that the engine says it has room for.
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


def predicted_memory_rows(index: CellIndex, artifacts: Mapping[str, Mapping[str, Any]]) -> list[PredictedMemoryRow]:
    """A row per variant; none without a load, as nothing is measured then that could stand beside it."""
    return [_row(index, name, artifacts.get(name, {})) for name in index.variants] if index.loads else []


def _row(index: CellIndex, variant: str, recipe: Mapping[str, Any]) -> PredictedMemoryRow:
    engines = [cell.record["result"].get("engine", {}) for cell in index.load_cells(variant)]
    engine = engines[0] if engines else {}
    size = recipe.get("bytes")
    weights = Figure(value=float(size)) if size else Figure(reason="the recipe does not say how large the weights are")
    token = _token_bytes(recipe, engine)
    room, held = _room(engine), _held(index)
    return PredictedMemoryRow(
        variant=variant, weights_bytes=weights, kv_bytes_per_token=token, kv_room_tokens=room, kv_held_tokens=held,
        kv_cache_bytes=_times(token, room), kv_needed_bytes=_times(token, held),
    )  # fmt: skip


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
