"""The figures of one window, from its records.

**Window.** It begins when the last stream has sent its first measured request and ends with the last token of
the last measured request. In between every stream is busy: warm-up requests run up to it, and streams that find no
measured request left go on with further ones ("tail") until the last measured one is done. Ramp and drain are so
outside by construction. Throughput counts all tokens that arrived after its begin and up to its end, whatever request
they belong to; latencies are those of the measured requests that ended well. With engines that answer all streams in
step, begin and end fall into the same phase of a step, so that no step is counted twice or lost.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.load.records import Record, Table

__all__ = ["METHOD", "PERCENTILES", "summarize", "window_ns"]

METHOD = "all streams busy: from the last stream's first measured request to the last measured token"
PERCENTILES = {"p90": (90.0, 64), "p95": (95.0, 130), "p99": (99.0, 662)}
"""Percentile and the least number of requests with which at least two lie beyond it, at 99% confidence."""

FloatArray = NDArray[np.float64]


def window_ns(records: Sequence[Record]) -> tuple[int, int]:
    """Begin and end of the window in monotonic ns; (0, 0) when no measured request was sent."""
    first_sent: dict[int, int] = {}
    ends: list[int] = []
    for record in records:
        exchange = record.exchange
        if exchange.phase == "measured":
            first_sent[exchange.stream] = min(exchange.sent_ns, first_sent.get(exchange.stream, exchange.sent_ns))
            ends.append(record.answer.chunks[-1][0] if record.answer.chunks else exchange.end_ns)
    if not ends:
        return 0, 0
    begin = max(first_sent.values())
    return begin, max(begin, *ends)


def summarize(records: Sequence[Record], tables: Mapping[str, Table], window_s: float) -> dict[str, Any]:
    """The `result` of a load cell, without what only the engine knows. Metrics that have no value are left out."""
    measured = [r for r in records if r.exchange.phase == "measured"]
    good = [r for r in measured if r.outcome == "ok"]
    samples = _samples(good)
    metrics = _throughput(records, tables, window_s) | {
        key: float(np.median(values)) for key, values in samples.items() if len(values)
    }
    percentiles: dict[str, dict[str, float]] = {}
    for key, values in samples.items():
        percentiles[key] = {
            name: float(np.percentile(values, q))
            for name, (q, need) in PERCENTILES.items() if len(good) >= need and len(values)
        }
    return {
        "requests": len(measured),
        "outcomes": dict(Counter(r.outcome for r in measured)),
        "window_s": window_s,
        "window_method": METHOD,
        "prompt_tokens": sum(r.exchange.prompt_tokens for r in measured),
        "output_tokens": sum(r.answer.tokens for r in measured),
        "metrics": metrics,
        "percentiles": percentiles,
        "percentiles_refused": {
            name: f"needs {need} requests, has {len(good)}"
            for name, (_, need) in PERCENTILES.items() if len(good) < need
        },
        "token_counts": _reconcile(good),
        "coalesced_chunks": _coalesced(good),
        "faults": [f"request {r.exchange.request}: {r.outcome}: {r.detail}"[:300]
                   for r in measured if r.outcome != "ok"][:5],
    }


def _throughput(records: Sequence[Record], tables: Mapping[str, Table], window_s: float) -> dict[str, float]:
    """Tokens and completed requests in (0, window_s], over window_s. Failed requests count for nothing."""
    if window_s <= 0:
        return {}
    useful = {r.exchange.request for r in records if r.outcome in ("ok", "cancelled")}
    chunks, requests = tables["chunks"], tables["requests"]
    inside = (chunks["at_s"] > 0) & (chunks["at_s"] <= window_s) & np.isin(chunks["request"], list(useful))
    last_s = requests["last_s"]
    ended = (requests["outcome"] == "ok") & (last_s > 0) & (last_s <= window_s)
    if not inside.any():
        return {}
    return {
        "output_throughput": float(chunks["tokens"][inside].sum() / window_s),
        "request_throughput": float(np.count_nonzero(ended) / window_s),
    }


def _samples(good: Sequence[Record]) -> dict[str, FloatArray]:
    """Seconds, one value per request; for `itl` one per token after the first chunk."""
    sent = np.array([r.exchange.sent_ns for r in good], np.float64)
    first = np.array([r.answer.chunks[0][0] for r in good], np.float64)
    last = np.array([r.answer.chunks[-1][0] for r in good], np.float64)
    tokens = np.array([r.answer.tokens for r in good], np.float64)
    many = tokens > 1
    return {
        "ttft": (first - sent) / 1e9,
        "tpot": (last[many] - first[many]) / (tokens[many] - 1) / 1e9,
        "itl": np.concatenate([_token_gaps(r) for r in good]) if good else np.empty(0),
        "e2e": (last - sent) / 1e9,
    }


def _token_gaps(record: Record) -> FloatArray:
    """Time between consecutive tokens: a chunk of k tokens gives k values, each 1/k of the time since the chunk
    before. The first chunk's tokens have no chunk before them and give none."""
    stamps = np.array([stamp for stamp, _ in record.answer.chunks], np.float64)
    tokens = np.array([count for _, count in record.answer.chunks], np.int64)[1:]
    return np.repeat(np.diff(stamps) / 1e9 / tokens, tokens)


def _coalesced(good: Sequence[Record]) -> float | None:
    """Share of chunks, after each request's first, that were read together with the one before.

    They were sent apart: a client that is not given the CPU in time finds several at once, and its per-token times are
    then too short in the middle and its TTFT too long. Above a few percent they are not to be trusted.
    """
    gaps = [np.diff([stamp for stamp, _ in r.answer.chunks]) for r in good]
    count = sum(len(gap) for gap in gaps)
    return sum(int(np.count_nonzero(gap == 0)) for gap in gaps) / count if count else None


def _reconcile(good: Sequence[Record]) -> dict[str, Any]:
    """How tokens were counted, and how often that differs from the server's total or from what was asked for."""
    return {
        "counted_by": dict(Counter(r.answer.counted for r in good)),
        "unlike_server": sum(r.answer.total is not None and r.answer.total != r.answer.tokens for r in good),
        "longer_than_asked": sum(r.answer.tokens > r.exchange.wanted for r in good),
        "prompt_unlike_server": sum(
            r.answer.prompt_tokens is not None and r.answer.prompt_tokens != r.exchange.prompt_tokens for r in good
        ),
    }
