"""The speed half of the view model: ratios paired by block, capacity, memory, and the device's ceilings."""

from typing import Literal

from pydantic import Field

from quantcheck.report.row import Figure, Row, SpeedWord

__all__ = [
    "BlockRow",
    "CapacityRow",
    "DegradationRow",
    "ExplanationRow",
    "LoadRow",
    "MeanSpeedRow",
    "MemoryRow",
    "PercentileRow",
    "PredictedMemoryRow",
    "RooflineRow",
    "SpeedRow",
    "SpeedSummary",
]

NOT_TOLD = Figure(reason="the version that wrote this did not tell")


class SpeedSummary(Row):
    """Output throughput, variant / baseline: the geometric mean over loads."""

    ratio: Figure
    loads: int = Field(description="loads in the mean")
    blocks: int
    word: SpeedWord | None
    more_blocks: int | None = None
    reason: str | None = None


class SpeedRow(Row):
    """One metric at one load; the baseline has a row of its own, without a ratio.

    The baseline's figure of a block is the geometric mean of its two measurements, where the twin was measured.
    """

    load: str
    metric: str
    variant: str
    value: Figure = Field(description="geometric mean over blocks, with a t interval over blocks")
    ratio: Figure = Field(description="variant / baseline, paired by block; without blocks that are left out")
    blocks: int
    spread: float | None = Field(description="standard deviation of the blocks' log ratios")
    word: SpeedWord | None
    more_blocks: int | None = None
    reason: str | None = None


class MeanSpeedRow(Row):
    """One metric over all loads: the geometric mean of the ratios, one value per block."""

    metric: str
    variant: str
    ratio: Figure = Field(description="variant / baseline, paired by block")
    loads: int = Field(description="loads in the mean")
    blocks: int
    spread: float | None = Field(description="standard deviation of the blocks' mean log ratios")
    word: SpeedWord | None
    more_blocks: int | None = None
    reason: str | None = None


class BlockRow(Row):
    """How far the machine moved during one block: log(later baseline / earlier baseline), mean over loads."""

    block: int
    drift: Figure = Field(description="a natural logarithm: 0.01 is 1%; null when the twin was not measured")
    invalid_for: list[str] = Field(description="variants whose effect the drift exceeds; left out of their figures")
    marks: list[str] = Field([], description="what the GPU's telemetry says against its figures, which stand")
    cells: list[str] = Field([], description="folders under `cells/`: the baseline's and its twin's, load by load")


class CapacityRow(Row):
    """The highest load of one workload that meets the SLO, per variant; figures over blocks, on the log scale.

    `bound`: `exact` lies inside the ladder of loads that were measured; `at least` means that its top meets the SLO
    (`highest` is then the top, without an interval), `below` that its lowest load does not (`highest` is null).
    """

    workload: str
    variant: str
    unit: Literal["streams", "requests/s"]
    highest: Figure
    bound: Literal["exact", "at least", "below"] | None
    ratio: Figure = Field(description="variant / baseline, paired by block")
    word: SpeedWord | None
    output_throughput: Figure = Field(description="tokens/s at that load")
    input_throughput: Figure = Field(description="tokens/s at that load")
    blocks: int
    blocks_below: int = Field(0, description="blocks in which the lowest load does not meet the SLO")
    reason: str | None = None


class DegradationRow(Row):
    """How much the time between tokens grows with load: ITL at `load` / ITL at the workload's lowest, by block."""

    load: str
    lowest: str
    variant: str
    ratio: Figure
    blocks: int
    reason: str | None = None


class PercentileRow(Row):
    metric: str
    percentile: str
    value: Figure


class LoadRow(Row):
    """What one variant's measured windows at one load held, all blocks together."""

    load: str
    variant: str
    blocks: int
    requests: int
    failed: int = Field(description="requests with any outcome but ok")
    percentiles: list[PercentileRow]
    saturated: int = Field(0, description="blocks of an open loop in which latencies came to no steady state")
    schedule_lag: Figure = Field(NOT_TOLD, description="p99 of how late the client sent; largest of the blocks, s")
    read_lag: Figure = Field(NOT_TOLD, description="p99 of how late the client read; largest of the blocks, s")
    cells: list[str] = Field([], description="folders under `cells/`, by block")


class MemoryRow(Row):
    """The largest value over the variant's load cells; `ready_s` is their median."""

    variant: str
    weights_bytes: Figure
    rss_bytes: Figure
    pss_bytes: Figure
    kv_cache_bytes: Figure
    allocated_bytes: Figure = Field(Figure(reason="the engine does not tell"),
                                    description="the model's own tensors after the load")
    peak_bytes: Figure = Field(Figure(reason="the engine does not tell"), description="the most while batches ran")
    ready_s: Figure


class PredictedMemoryRow(Row):
    """What memory should hold by arithmetic: bytes of files, and keys and values of so many tokens."""

    variant: str
    weights_bytes: Figure = Field(description="of the weight files, and what the engine's kernel widens of them")
    kv_bytes_per_token: Figure
    kv_room_tokens: Figure = Field(description="that the engine says its cache has room for")
    kv_held_tokens: Figure = Field(description="of the fullest load of fixed streams, all requests at full length")
    kv_cache_bytes: Figure = Field(description="kv_bytes_per_token x kv_room_tokens")
    kv_needed_bytes: Figure = Field(description="kv_bytes_per_token x kv_held_tokens")


class RooflineRow(Row):
    """One variant at one load against what the device can do; shares of ceilings measured on this machine."""

    load: str
    variant: str
    batch: float | None = Field(description="requests in flight, mean over the windows")
    context: float | None = Field(description="tokens that a request holds, averaged over its answer")
    bytes_per_token: Figure = Field(description="of decode: weights, keys and values; activations left out")
    flops_per_token: Figure = Field(description="of decode: matrix products and attention")
    mbu: Figure = Field(description="decode: bytes a step over TPOT, share of the bandwidth")
    mfu: Figure = Field(description="decode: FLOP a step over TPOT, share of the arithmetic rate")
    prefill_mbu: Figure = Field(description="prefill: bytes over TTFT, share of the bandwidth")
    prefill_mfu: Figure = Field(description="prefill: FLOP over TTFT, share of the arithmetic rate")
    bound: Literal["overhead", "memory", "compute", "prefill"] | None = Field(description="what sets decode's time")
    predicted: Figure = Field(description="output throughput, variant / baseline, with the baseline's overhead")
    measured: Figure
    crossover: Figure = Field(description="requests at once from which on the prediction lies within the margin")
    explanation: str
    reason: str | None = None


class ExplanationRow(Row):
    """Why one variant is as fast as it is, over the loads of one workload."""

    workload: str
    variant: str
    sentence: str
