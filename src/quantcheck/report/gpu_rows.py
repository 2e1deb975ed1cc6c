"""The GPU's part of the view model: energy per token, and how its memory is split."""

from typing import Literal

from pydantic import Field

from quantcheck.report.row import Figure, Row

__all__ = ["EnergyRow", "EnergyWord", "GpuMemoryRow"]

EnergyWord = Literal["less energy", "more energy", "no detectable difference", "inconclusive", "not comparable"]


class EnergyRow(Row):
    """Energy per output token of one variant at one load, or over `all loads`: the geometric mean of the ratios."""

    load: str
    variant: str
    joules_per_token: Figure = Field(description="geometric mean over blocks, with a t interval over blocks")
    power_w: Figure = Field(description="of the engine's GPUs together: median of the window, then over blocks")
    ratio: Figure = Field(description="variant / baseline, paired by block; without blocks that are left out")
    blocks: int
    spread: float | None = Field(description="standard deviation of the blocks' log ratios")
    word: EnergyWord | None
    more_blocks: int | None = None
    reason: str | None = None


class GpuMemoryRow(Row):
    """The engine's GPUs together, in the look of one window in which most was in use.

    Weights, KV cache, other, other programs and free come to the total. The footprint is what must fit: the engine
    reserves as much KV cache as its setting allows, so of that it counts what the fullest measured load holds at most.
    """

    variant: str
    gpus: int | None = Field(description="how many GPUs the figures are sums over")
    gpu_weights_bytes: Figure
    gpu_kv_cache_bytes: Figure
    gpu_other_bytes: Figure = Field(description="activations, graphs, the driver's own")
    gpu_foreign_bytes: Figure = Field(description="other programs'; where not known, they are in `other`")
    gpu_used_bytes: Figure
    gpu_free_bytes: Figure
    gpu_total_bytes: Figure
    gpu_kv_needed_bytes: Figure = Field(description="of the KV cache, what the fullest measured load holds at most")
    gpu_footprint_bytes: Figure = Field(description="weights, other and `gpu_kv_needed_bytes`")
    cell: str | None = Field(None, description="folder under `cells/` of that window")
