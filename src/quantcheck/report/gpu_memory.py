"""How the GPUs' memory is split, and how much of it a variant needs for the load that was measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from quantcheck.report import figures
from quantcheck.report.cells import CellIndex
from quantcheck.report.gpu import NO_TELEMETRY, gpu_of, has_gpu, missing_of
from quantcheck.report.grids import VARIANT, Column, Grid, Item
from quantcheck.report.requests import Requests
from quantcheck.report.summary import Figure, GpuMemoryRow, Summary
from quantcheck.store import CellKey

__all__ = ["GPU_MEMORY_WORDS", "gpu_memory_grid", "gpu_memory_rows", "most_tokens_held"]

KV_BLOCK = 16
"""Tokens: a request's keys and values take whole blocks of vLLM's default size."""

GPU_MEMORY_WORDS = (
    "In the look in which most was in use; several GPUs are summed. Weights and KV cache are what the engine's log "
    "says of one rank, times the number of GPUs; other is the rest of what is in use: activations, graphs, the "
    "driver's own. The engine reserves as much KV cache as its setting allows (vLLM: gpu-memory-utilization), whatever "
    "the variant needs. KV needed is what the requests of the fullest measured load hold at most; the footprint is "
    "weights, other and that."
)


def gpu_memory_rows(index: CellIndex) -> list[GpuMemoryRow]:
    """A row per variant, out of the window in which most was in use; none where NVML told nothing of any window."""
    return [_row(index, name) for name in index.variants] if has_gpu(index) else []


def _row(index: CellIndex, variant: str) -> GpuMemoryRow:
    records = [cell.record for cell in index.load_cells(variant)]
    told = [record for record in records if gpu_of(record).get("memory_used_bytes") is not None]
    if not told:
        gone = Figure(reason=_why(index, variant, records))
        return GpuMemoryRow(
            variant=variant, gpus=None, gpu_weights_bytes=gone, gpu_kv_cache_bytes=gone, gpu_other_bytes=gone,
            gpu_foreign_bytes=gone, gpu_used_bytes=gone, gpu_free_bytes=gone, gpu_total_bytes=gone,
            gpu_kv_needed_bytes=gone, gpu_footprint_bytes=gone,
        )  # fmt: skip
    record = max(told, key=lambda one: float(gpu_of(one)["memory_used_bytes"]))
    gpu, engine = gpu_of(record), record["result"].get("engine", {})
    used, free, total = (Figure(value=float(gpu[f"memory_{part}_bytes"])) for part in ("used", "free", "total"))
    ranks = len(gpu["gpus"])
    weights, cache = _of_ranks(engine, "weights_bytes", ranks), _of_ranks(engine, "kv_cache_bytes", ranks)
    foreign = _foreign(gpu)
    other = _other(total, free, weights, cache, foreign)
    needed = _needed(index, variant, engine, cache)
    return GpuMemoryRow(
        variant=variant, gpus=ranks, gpu_weights_bytes=weights, gpu_kv_cache_bytes=cache, gpu_other_bytes=other,
        gpu_foreign_bytes=foreign, gpu_used_bytes=used, gpu_free_bytes=free, gpu_total_bytes=total,
        gpu_kv_needed_bytes=needed, gpu_footprint_bytes=_sum(weights, other, needed),
        cell=CellKey(**record["key"]).id,
    )  # fmt: skip


def _why(index: CellIndex, variant: str, records: list[Mapping[str, Any]]) -> str:
    if not records:
        return index.missing(variant, index.loads[0])
    return next((why for record in records if (why := missing_of(record, "memory"))), NO_TELEMETRY)


def _of_ranks(engine: Mapping[str, Any], fact: str, ranks: int) -> Figure:
    """What the engine says of one rank, times the GPUs: each holds a rank."""
    if not engine.get(fact):
        return Figure(reason=f"the engine does not tell its {fact.removesuffix('_bytes').replace('_', ' ')}")
    return Figure(value=float(ranks * engine[fact]))


def _foreign(gpu: Mapping[str, Any]) -> Figure:
    if gpu.get("foreign_processes") == 0:
        return Figure(value=0.0)
    if gpu.get("foreign_bytes") is None:
        return Figure(reason="NVML does not tell other programs' memory here: it is counted as other")
    return Figure(value=float(gpu["foreign_bytes"]))


def _other(total: Figure, free: Figure, weights: Figure, cache: Figure, foreign: Figure) -> Figure:
    """What is left of what is not free; other programs' where nobody knows how much that is."""
    claimed = _sum(free, weights, cache)
    if claimed.value is None or total.value is None:
        return claimed
    rest = total.value - claimed.value - (foreign.value or 0.0)
    if rest < 0:
        return Figure(reason="the engine claims more weights and KV cache than NVML counts as in use")
    return Figure(value=rest)


def _sum(*parts: Figure) -> Figure:
    """The sum; the first part that is missing makes it missing."""
    gone = next((part for part in parts if part.value is None), None)
    return gone or Figure(value=sum(part.value or 0.0 for part in parts))


def _needed(index: CellIndex, variant: str, engine: Mapping[str, Any], cache: Figure) -> Figure:
    """Of the KV cache, what the fullest window's requests hold at most, and never more than there is."""
    capacity = engine.get("kv_cache_tokens")
    if cache.value is None or not capacity:
        return Figure(reason=cache.reason or "the engine does not tell how many tokens its KV cache holds")
    held = [most_tokens_held(read) for load in index.loads for read in index.requests(variant, load).values()]
    known = [tokens for tokens in held if tokens is not None]
    if not held or len(known) < len(held):
        return Figure(reason="prompt lengths or ends of requests are not stored")
    return Figure(value=cache.value * min(max(known), capacity) / capacity)


def most_tokens_held(requests: Requests) -> int | None:
    """The most tokens that the requests in flight at one time hold, at most; None where lengths or ends are not known.

    A request counts with its prompt and all of its answer from its sending to its end, in whole blocks: an upper bound,
    as an answer grows, and a request that waits in the server's queue holds nothing yet.
    """
    if not len(requests.sent) or not np.isfinite([requests.sent, requests.end]).all() or np.any(requests.prompt <= 0):
        return None
    blocks = -(-(requests.prompt + requests.tokens) // KV_BLOCK) * KV_BLOCK
    at, change = np.concatenate([requests.sent, requests.end]), np.concatenate([blocks, -blocks])
    # What ends at an instant makes room for what is sent then.
    return int(np.cumsum(change[np.lexsort((change, at))]).max())


def gpu_memory_grid(summary: Summary) -> Grid:
    """The split of each variant, in GB; without rows where nothing was told."""
    columns = [VARIANT, Column("GPUs", True), Column("weights", True), Column("KV cache", True), Column("other", True)]
    foreign = any(row.gpu_foreign_bytes.value for row in summary.gpu_memory)
    columns += [Column("other programs", True)] if foreign else []
    columns += [Column("free", True), Column("total", True), Column("KV needed", True), Column("footprint", True)]
    rows = []
    for row in summary.gpu_memory:
        keys = ["gpu_weights_bytes", "gpu_kv_cache_bytes", "gpu_other_bytes",
                *(["gpu_foreign_bytes"] if foreign else []),
                "gpu_free_bytes", "gpu_total_bytes", "gpu_kv_needed_bytes", "gpu_footprint_bytes"]
        count = Item(missing=row.gpu_total_bytes.reason) if row.gpus is None else Item(str(row.gpus))
        rows.append([Item(row.variant), count, *(_item(getattr(row, key), key) for key in keys)])
    return Grid(columns, rows)


def _item(figure: Figure, key: str) -> Item:
    return Item(missing=figure.reason) if figure.value is None else Item(figures.value(figure, key))
