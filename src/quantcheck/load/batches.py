"""The figures of a window that the engine measured itself: whole batches, each read (prefill) and continued (decode).

There is no client and no server: a batch of prompts goes in together, all its answers have the same length, and the
stamps are the engine's own. What a request is elsewhere is here one prompt of a batch: its TTFT is the batch's prefill,
the time between its tokens a step of decode. Batches are laid end to end: what lies between them is not the engine's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.load.intervals import mean_interval, order_interval
from quantcheck.load.prompts import Prompt, prompts_sha256
from quantcheck.load.raw import Table
from quantcheck.load.summary import LOAD_METRICS

__all__ = ["Batch", "summarize_batches"]

METHOD = "the batches' own time, laid end to end"
_NO_CLIENT = "the engine measured itself: there is no client, and nothing arrives"
_BY_BATCH = "timed by batch, not by request"


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: `prompts` (token ids), and when each column of its answers was there, ns after its begin.

    `stamps_ns` int64 [output tokens]: the first is the prefill. `began_ns`: CLOCK_MONOTONIC. `kv_bytes`: of keys and
    values at its end. `peak_bytes`: the most memory meanwhile. The last two None where the engine does not tell.
    """

    prompts: Sequence[NDArray[np.int32]]
    began_ns: int
    stamps_ns: NDArray[np.int64]
    kv_bytes: int | None = None
    peak_bytes: int | None = None

    @property
    def prompt_tokens(self) -> int:
        """Without padding."""
        return sum(len(prompt) for prompt in self.prompts)

    @property
    def prefill_s(self) -> float:
        return float(self.stamps_ns[0]) / 1e9

    @property
    def length_s(self) -> float:
        return float(self.stamps_ns[-1]) / 1e9

    @property
    def steps_s(self) -> NDArray[np.float64]:
        """Time of each step of decode, [output tokens - 1]."""
        return np.diff(self.stamps_ns) / 1e9


def summarize_batches(batches: Sequence[Batch], clock: str) -> tuple[dict[str, Any], dict[str, Table]]:
    """The `result` of a load cell, as `summarize` has it for a served engine, and its tables; `measured_by`: engine.

    `batches`: at least one, all of the same size and output length. `clock`: what the stamps are. Durations in s. The
    interval of a time is over batches, whose requests are not independent.
    """
    size, output = len(batches[0].prompts), len(batches[0].stamps_ns)
    prefill = np.array([batch.prefill_s for batch in batches])
    length = np.array([batch.length_s for batch in batches])
    steps = np.concatenate([batch.steps_s for batch in batches])
    prompt_tokens = sum(batch.prompt_tokens for batch in batches)
    requests, window_s = size * len(batches), float(length.sum())
    decode_s = float(length.sum() - prefill.sum())
    metrics = {
        "output_throughput": requests * output / window_s,
        "request_throughput": requests / window_s,
        "input_throughput": prompt_tokens / window_s,
        "achieved_rate": requests / window_s,
        "ttft": float(np.median(prefill)),
        "e2e": float(np.median(length)),
        "concurrency": float(size),
        "output_length": float(output),
        "prefill_throughput": prompt_tokens / float(prefill.sum()),
    }
    samples = {"ttft": prefill, "e2e": length}
    if output > 1:
        tpot = (length - prefill) / (output - 1)
        metrics |= {"tpot": float(np.median(tpot)), "itl": float(np.median(steps)),
                    "chunk_gap": float(np.median(steps)),
                    "decode_throughput": requests * (output - 1) / decode_s}
        samples["tpot"] = tpot
    found = {key: bounds for key, values in samples.items() if (bounds := order_interval(values, 0.5)) is not None}
    if len(batches) > 1:
        # A rate is the inverse of a mean time: its interval's ends change places.
        low, high = mean_interval(length)
        if low > 0:
            found["output_throughput"] = (size * output / high, size * output / low)
    begin, end = batches[0].began_ns, batches[-1].began_ns + int(batches[-1].stamps_ns[-1])
    return {
        "measured_by": "engine",
        "clock": clock,
        "batches": len(batches),
        "batch_size": size,
        "requests": requests,
        "outcomes": {"ok": requests},
        "concurrency": size,
        "rate": None,
        "window_s": window_s,
        "window_method": METHOD,
        "window": {"method": METHOD, "begin_ns": begin, "end_ns": end, "length_s": window_s, "requests": requests,
                   "cut_as_warm": 0, "steady": None, "reason": "not judged: batches are timed one by one"},
        "prompt_tokens": prompt_tokens,
        "output_tokens": requests * output,
        "metrics": metrics,
        "missing": {key: _why(key, output) for key in LOAD_METRICS if key not in metrics},
        "percentiles": {key: {"p50": float(np.median(values))} for key, values in samples.items()},
        "percentiles_refused": dict.fromkeys(("p90", "p95", "p99", "p99.9"), _BY_BATCH),
        "intervals": {key: list(bounds) for key, bounds in found.items()},
        "intervals_refused": {},
        "slo": None,
        "prefill_s": float(prefill.sum()),
        "decode_s": decode_s,
        "kv_bytes": max((batch.kv_bytes for batch in batches if batch.kv_bytes is not None), default=None),
        "peak_bytes": max((batch.peak_bytes for batch in batches if batch.peak_bytes is not None), default=None),
        "prompts_sha256": prompts_sha256(_all_prompts(batches)),
        "began_monotonic_ns": begin,
        "faults": [], "notes": [], "problem": None,
    }, _tables(batches)


def _all_prompts(batches: Sequence[Batch]) -> list[Prompt]:
    return [prompt for batch in batches for prompt in batch.prompts]


def _why(key: str, output: int) -> str:
    if key in ("tpot", "itl", "chunk_gap"):
        return f"the answers have {output} token"
    if key in ("goodput", "slo_attainment"):
        return "no SLO given"
    return _NO_CLIENT


def _tables(batches: Sequence[Batch]) -> dict[str, Table]:
    """`requests`, a row for each prompt, and `chunks`, a row for each of its tokens; as `load.raw` has them."""
    size, output = len(batches[0].prompts), len(batches[0].stamps_ns)
    ends = np.cumsum([batch.length_s for batch in batches])
    begins = np.repeat(np.concatenate([[0.0], ends[:-1]]), size)
    count = size * len(batches)
    request = np.arange(count, dtype=np.int32)
    at = begins[:, None] + np.repeat([batch.stamps_ns for batch in batches], size, axis=0) / 1e9
    return {
        "requests": {
            "request": request,
            "stream": request % np.int32(size),
            "batch": request // np.int32(size),
            "phase": np.full(count, "measured", object),
            "prompt_tokens": np.array([len(prompt) for batch in batches for prompt in batch.prompts], np.int32),
            "output_tokens": np.full(count, output, np.int32),
            "due_s": np.full(count, np.nan),
            "sent_s": begins,
            "first_s": at[:, 0],
            "last_s": at[:, -1],
            "end_s": at[:, -1],
            "status": np.zeros(count, np.int32),
            "outcome": np.full(count, "ok", object),
            "detail": np.full(count, "", object),
        },
        "chunks": {
            "request": np.repeat(request, output),
            "at_s": at.reshape(-1),
            "tokens": np.ones(count * output, np.int32),
        },
    }
