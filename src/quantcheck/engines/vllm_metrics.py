"""What vLLM counts itself: its /metrics, read into numbers, and the difference of two readings.

The names are those of vLLM's `v1/metrics/loggers.py`, read in 0.32. A prompt's tokens are counted with its first token,
a request when the engine ends it: one that the client leaves is in no count of finished requests. TTFT begins where the
frontend has the request parsed and ends where it has the first token, by the wall clock. The inter-token latency is one
value per engine step and request; with speculative decoding a step may give several tokens.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import ceil, inf
from typing import Any

__all__ = ["NAMES", "Counters", "Histogram", "difference", "read_counters"]

NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt_tokens": ("vllm:prompt_tokens_total",),
    "generation_tokens": ("vllm:generation_tokens_total",),
    "prefix_cache_queries": ("vllm:prefix_cache_queries_total",),
    "prefix_cache_hits": ("vllm:prefix_cache_hits_total",),
    "preemptions": ("vllm:num_preemptions_total",),
    "requests": ("vllm:request_success_total",),
    "ttft": ("vllm:time_to_first_token_seconds",),
    "itl": ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
    "e2e": ("vllm:e2e_request_latency_seconds",),
    "queue": ("vllm:request_queue_time_seconds",),
}
"""Names in /metrics by field of `Counters`, today's first."""

_BUSY = ("vllm:num_requests_running", "vllm:num_requests_waiting")

_Samples = list[tuple[Mapping[str, str], float]]
"""(labels, value) of each sample of one name."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts[i]` values were at most `bounds[i]`, which rise to infinity; `total` is the sum of all, in s."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        return self.counts[-1]

    @property
    def mean(self) -> float | None:
        """In s; None without values."""
        return self.total / self.count if self.count else None

    def quantile(self, q: float) -> tuple[float, float | None] | None:
        """The bucket (above the first, up to the second bound) that holds the ceil(q * n)-th smallest of n values.

        Without upper bound: None as the second. None without values.
        """
        if not self.count:
            return None
        rank = max(1, ceil(q * self.count))
        place = next(i for i, below in enumerate(self.counts) if below >= rank)
        high = self.bounds[place]
        return (self.bounds[place - 1] if place else 0.0), (None if high == inf else high)


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since the server's start, over all its engines, or between two readings; None: the server has none such.

    Prefix-cache queries and hits are in tokens; `requests`: ended ones by finish reason.
    """

    prompt_tokens: int | None = None
    generation_tokens: int | None = None
    prefix_cache_queries: int | None = None
    prefix_cache_hits: int | None = None
    preemptions: int | None = None
    requests: Mapping[str, int] | None = None
    ttft: Histogram | None = None
    itl: Histogram | None = None
    e2e: Histogram | None = None
    queue: Histogram | None = None
    busy: int | None = None
    """Requests in the server at the time of reading."""


def read_counters(text: str) -> Counters:
    """`text`, as /metrics answers it. What is not in it is None; so is everything when it is not Prometheus' format."""
    try:
        return _read(text)
    except (KeyError, ValueError):
        return Counters()


def _read(text: str) -> Counters:
    from prometheus_client.parser import text_string_to_metric_families  # not at the top: other engines need it not

    samples: dict[str, _Samples] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name].append((sample.labels, sample.value))
    found: dict[str, Any] = {}
    for field, names in NAMES.items():
        for name in names:
            if f"{name}_bucket" in samples:
                found[field] = _histogram(samples[f"{name}_bucket"], samples[f"{name}_sum"])
            elif name in samples:
                found[field] = _by_reason(samples[name]) if field == "requests" else _whole(samples[name])
            else:
                continue
            break
    gauges = [_whole(samples[name]) for name in _BUSY if name in samples]
    return Counters(**found, busy=sum(gauges) if gauges else None)


def _whole(samples: _Samples) -> int:
    return round(sum(value for _, value in samples))


def _by_reason(samples: _Samples) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for labels, value in samples:
        found[labels.get("finished_reason", "")] += round(value)
    return dict(found)


def _histogram(buckets: _Samples, sums: _Samples) -> Histogram:
    counts: dict[float, int] = defaultdict(int)
    for labels, value in buckets:
        counts[float(labels["le"])] += round(value)
    bounds = tuple(sorted(counts))
    return Histogram(bounds, tuple(counts[bound] for bound in bounds), sum(value for _, value in sums))


def difference(before: Counters, after: Counters) -> tuple[Counters, list[str]]:
    """What was counted between two readings, and the fields that fell: the server began to count anew.

    A field that fell, or that one of the readings does not have, is None. `busy` is that of `after`.
    """
    found: dict[str, Any] = {}
    fell = []
    for field in (field.name for field in fields(Counters) if field.name != "busy"):
        first, last = getattr(before, field), getattr(after, field)
        if first is None or last is None:
            continue
        step = _step(first, last)
        if step is None:
            fell.append(field)
        else:
            found[field] = step
    return Counters(**found, busy=after.busy), fell


def _step(first: Any, last: Any) -> Any:
    """last - first; None when anything of it is negative."""
    if isinstance(first, Histogram):
        if first.bounds != last.bounds:
            return None
        counts = tuple(b - a for a, b in zip(first.counts, last.counts, strict=True))
        # Of values below a bound there cannot be more than below the next.
        whole = min(counts) >= 0 and list(counts) == sorted(counts)
        return Histogram(last.bounds, counts, max(0.0, last.total - first.total)) if whole else None
    if isinstance(first, Mapping):
        steps = {key: last.get(key, 0) - first.get(key, 0) for key in {**first, **last}}
        return steps if min(steps.values(), default=0) >= 0 else None
    return last - first if last >= first else None
