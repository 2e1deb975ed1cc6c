"""The one registry of everything quantcheck measures: key, unit, direction, label and format.

Keys are stable: they name columns in stored cells, fields in `summary.json` and rows in every report.
Durations are stored in seconds and shown in milliseconds; sizes are stored in bytes.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "Direction", "Metric", "metric"]

Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity.

    `better` says which direction is an improvement; `scale` turns the stored unit into the shown `unit`;
    `digits` is the number of decimals that a report shows.
    """

    key: str
    label: str
    unit: str
    better: Direction
    definition: str
    scale: float = 1.0
    digits: int = 2

    def format(self, value: float, *, unit: bool = True) -> str:
        """`value` (in the stored unit) as a reader sees it."""
        text = f"{value * self.scale:,.{self.digits}f}"
        return f"{text} {self.unit}" if unit and self.unit else text


_ALL = [
    Metric("output_throughput", "Output throughput", "tok/s", "higher",
           "output tokens that arrived in the window, failed requests' left out, over the window's length", digits=0),
    Metric("request_throughput", "Request throughput", "req/s", "higher",
           "requests completed in the window, over the window's length"),
    Metric("input_throughput", "Input throughput", "tok/s", "higher",
           "prompt tokens of requests whose first output token arrived in the window, over the window's length",
           digits=0),
    Metric("offered_rate", "Offered rate", "req/s", "none",
           "requests that were due in the window (closed loop: sent), over the window's length"),
    Metric("achieved_rate", "Achieved rate", "req/s", "higher",
           "requests that ended in the window, well or not, over the window's length"),
    Metric("goodput", "Goodput", "req/s", "higher",
           "requests that ended well in the window and met the SLO, over the window's length"),
    Metric("slo_attainment", "SLO attainment", "%", "higher",
           "share of the window's requests that met the SLO; a failed request did not", 100.0, 1),
    Metric("ttft", "TTFT", "ms", "lower",
           "time from sending a request to the arrival of its first output token", 1e3),
    Metric("ttft_intended", "TTFT, intended", "ms", "lower",
           "time from when a request was due to the arrival of its first output token; open loop only", 1e3),
    Metric("tpot", "TPOT", "ms", "lower",
           "(last token - first token) / (output tokens - 1), one value per request", 1e3),
    Metric("itl", "ITL", "ms", "lower",
           "time between two consecutive output tokens, one value per token", 1e3),
    Metric("chunk_gap", "Chunk gap", "ms", "lower",
           "time between two consecutive chunks that carry tokens, one value per gap", 1e3),
    Metric("prefill_throughput", "Prefill", "tok/s", "higher",
           "prompt tokens, padding left out, over the time in which they were read; of an engine that times its own "
           "batches", digits=0),
    Metric("decode_throughput", "Decode", "tok/s", "higher",
           "output tokens but the first of each answer, over the time of all decode steps; of an engine that times its "
           "own batches", digits=0),
    Metric("e2e", "End to end", "ms", "lower",
           "time from sending a request to the arrival of its last output token", 1e3, 1),
    Metric("e2e_intended", "End to end, intended", "ms", "lower",
           "time from when a request was due to the arrival of its last output token; open loop only", 1e3, 1),
    Metric("schedule_lag", "Schedule lag", "ms", "lower",
           "time from when a request was due to when it was sent, the client's own; open loop only", 1e3, 3),
    Metric("concurrency", "Concurrency", "", "none",
           "requests in flight, averaged over the window's time", digits=1),
    Metric("littles_law", "Little's law", "%", "none",
           "relative difference between requests in flight and completion rate x mean time in flight, a check",
           100.0, 1),
    Metric("output_length", "Output length", "tok", "none", "mean output tokens of the window's good requests",
           digits=1),
    Metric("accuracy", "Accuracy", "%", "higher", "share of items answered right", 100.0, 1),
    Metric("perplexity", "Perplexity", "", "lower",
           "exp of the mean negative log-likelihood per token, sliding window", digits=3),
    Metric("kl_divergence", "KL divergence", "nats", "lower",
           "mean over tokens of KL(baseline || variant) of the next-token distributions", digits=5),
    Metric("top1_agreement", "Top-1 agreement", "%", "higher",
           "share of tokens at which variant and baseline rank the same token first", 100.0, 2),
    Metric("weights_bytes", "Weights", "MB", "lower", "bytes of the artifact's weight files; of random weights, and of "
           "those that get another format as they are loaded, what the configuration comes to", 1e-6, 1),
    Metric("bits_per_weight", "Bits per weight", "bpw", "lower",
           "8 x bytes of tensor data / number of weights"),
    Metric("rss_bytes", "Resident memory", "MB", "lower",
           "resident set size of the engine's processes after the load, shared pages counted whole", 1e-6, 0),
    Metric("pss_bytes", "Proportional memory", "MB", "lower",
           "proportional set size of the engine's processes after the load, shared pages counted by share", 1e-6, 0),
    Metric("allocated_bytes", "Model in memory", "MB", "lower",
           "bytes of the model's own tensors as they are allocated after the load", 1e-6, 1),
    Metric("peak_bytes", "Peak memory", "MB", "lower",
           "the most that the engine's allocator held while batches ran; without a GPU, of the whole process", 1e-6, 1),
    Metric("kv_cache_bytes", "KV cache", "MB", "lower",
           "bytes that the engine reserved for keys and values of all slots", 1e-6, 1),
    Metric("joules_per_token", "Energy per token", "J/tok", "lower",
           "energy of the engine's GPUs in the window, by their own counters, over output tokens that arrived in it",
           digits=4),
    Metric("power_w", "GPU power", "W", "none",
           "power of the engine's GPUs together, median over the window's looks, then over blocks", digits=0),
    Metric("gpu_weights_bytes", "Weights on the GPU", "GB", "lower",
           "bytes that the engine's log says its weights take on the GPU, of all ranks", 1e-9, 1),
    Metric("gpu_kv_cache_bytes", "KV cache on the GPU", "GB", "none",
           "bytes that the engine reserved for keys and values on the GPU, of all ranks", 1e-9, 1),
    Metric("gpu_kv_needed_bytes", "KV cache needed", "GB", "none",
           "of the KV cache, what the requests of the fullest measured load hold at most", 1e-9, 2),
    Metric("gpu_other_bytes", "Other on the GPU", "GB", "lower",
           "what is in use beyond weights, KV cache and other programs: activations, graphs, the driver's own",
           1e-9, 2),
    Metric("gpu_foreign_bytes", "Other programs on the GPU", "GB", "none",
           "bytes that processes which are not the engine's hold on its GPUs", 1e-9, 1),
    Metric("gpu_used_bytes", "In use on the GPU", "GB", "none",
           "bytes in use on the engine's GPUs, whosoever, in the fullest look", 1e-9, 1),
    Metric("gpu_free_bytes", "Free on the GPU", "GB", "none", "bytes free in the same look", 1e-9, 1),
    Metric("gpu_total_bytes", "The GPU's memory", "GB", "none", "bytes of the engine's GPUs together", 1e-9, 1),
    Metric("gpu_footprint_bytes", "Footprint on the GPU", "GB", "lower",
           "weights, other, and the KV cache needed: what must fit", 1e-9, 1),
    Metric("ready_s", "Start to ready", "s", "lower", "time from starting the engine to its first healthy answer"),
]

METRICS: dict[str, Metric] = {m.key: m for m in _ALL}


def metric(key: str) -> Metric:
    """The metric named `key`; `KeyError` when there is none (a programming error)."""
    return METRICS[key]
