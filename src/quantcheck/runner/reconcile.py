"""The server's own counts of a window beside the client's: what a load cell has as `server`.

The server's counters are read before and after a whole window, so the client's side is the whole window, too: warm-up,
measured requests and tail. When every request ended well the counts must be equal. Of a request that failed the server
may have read the prompt or not, and may have written more than came; it counts no request that the client left.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from quantcheck.engines.vllm_metrics import NAMES, Counters, Histogram, difference
from quantcheck.load.raw import Table

__all__ = ["cached_tokens", "server_record"]

CLOCKS_S = 1e-3
"""By how much the client's mean TTFT may be below the server's, which is a part of it: each goes by its own clock."""

_WORDS = {
    "prompt_tokens": "prompt tokens", "generation_tokens": "generated tokens", "requests": "finished requests",
}


def server_record(
    before: Counters, after: Counters, requests: Table, *, prefix_caching: bool | None
) -> dict[str, Any]:
    """What the server counted between two readings, as JSON, with one sentence for each thing that cannot be.

    `requests`: the `load.raw` table of all requests that were sent between the readings, and by nobody else.
    `prefix_caching`: whether the server was to reuse prompts; None when that is not known. Counts without a value are
    None, in `missing` by the server's name for them or, when they fell, in `differences`. `client`: between which
    bounds the server's counts must lie by what the client sent and received. The client's means are per request that
    got a token (`ttft`), that ended well (`e2e`), and per token after the first (`itl`).
    """
    found, fell = difference(before, after)
    times, bounds = _client_times(requests), _client_bounds(requests)
    record: dict[str, Any] = {
        key: getattr(found, key)
        for key in ("prompt_tokens", "generation_tokens", "prefix_cache_queries", "prefix_cache_hits", "preemptions")
    }
    record["requests"] = None if found.requests is None else {key: n for key, n in found.requests.items() if n}
    for key in ("ttft", "itl", "e2e", "queue"):
        record[key] = _times(getattr(found, key), times.get(key))
    record["client"] = {key: list(bound) for key, bound in bounds.items()}
    record["missing"] = [names[0] for key, names in NAMES.items() if record[key] is None and key not in fell]
    record["differences"] = [
        *([f"the server's counts fell during the window ({', '.join(fell)}): it was started again"] if fell else []),
        *_differences(record, bounds, prefix_caching),
    ]
    return record


def cached_tokens(record: Mapping[str, Any], prompt_tokens: int) -> int | None:
    """How many of `prompt_tokens`, the measured requests', came from the prefix cache, by the whole window's share."""
    hits, read = record["prefix_cache_hits"], record["prompt_tokens"]
    if hits is None or not read:
        return None
    share: float = hits / read
    return round(share * prompt_tokens)


def _times(found: Histogram | None, client: tuple[int, float] | None) -> dict[str, Any] | None:
    """`client`: how many values the client has, and their sum in s."""
    if found is None:
        return None
    bucket = found.quantile(0.5)
    record: dict[str, Any] = {
        "count": found.count, "mean_s": found.mean, "p50_s": None if bucket is None else list(bucket),
    }
    if client is not None:
        count, total = client
        record |= {"client_count": count, "client_mean_s": total / count if count else None}
    return record


def _client_times(requests: Table) -> dict[str, tuple[int, float]]:
    """(number, sum in s) of the client's values by metric."""
    sent, first, last = requests["sent_s"], requests["first_s"], requests["last_s"]
    tokens = requests["output_tokens"]
    begun = np.isfinite(first)
    many = begun & (tokens > 1)
    ok = begun & (requests["outcome"] == "ok")
    return {
        "ttft": (int(begun.sum()), float((first - sent)[begun].sum())),
        "itl": (int((tokens[many] - 1).sum()), float((last - first)[many].sum())),
        "e2e": (int(ok.sum()), float((last - sent)[ok].sum())),
    }


def _client_bounds(requests: Table) -> dict[str, tuple[int, int | None]]:
    """(least, most) that the server can have counted; most None: no limit. Prompts of unknown length: no bounds."""
    ok = requests["outcome"] == "ok"
    prompts, answers = requests["prompt_tokens"], requests["output_tokens"]
    received = int(answers.sum())
    bounds: dict[str, tuple[int, int | None]] = {
        "generation_tokens": (received, received if ok.all() else None), "requests": (int(ok.sum()), len(ok)),
    }
    if np.all(prompts > 0):  # 0: not known
        bounds["prompt_tokens"] = (int(prompts[answers > 0].sum()), int(prompts.sum()))
    return bounds


def _differences(
    record: Mapping[str, Any], bounds: Mapping[str, tuple[int, int | None]], prefix_caching: bool | None
) -> Iterator[str]:
    ended = record["requests"]
    counts = {**record, "requests": None if ended is None else sum(ended.values())}
    for key, (least, most) in bounds.items():
        server = counts[key]
        if server is None:
            continue
        told = f"the server counts {server:,} {_WORDS[key]}, the client"
        if server < least:
            yield f"{told} {'' if most == least else 'at least '}{least:,}"
        elif most is not None and server > most:
            yield f"{told} {'' if most == least else 'at most '}{most:,}"
    if prefix_caching is False and record["prefix_cache_hits"]:
        yield (f"{record['prefix_cache_hits']:,} prompt tokens came from the server's prefix cache, "
               "which was to be off")
    ttft = record["ttft"]
    # Over the same requests only: one that failed may be in one mean and not in the other.
    if ttft and 0 < ttft["count"] == ttft["client_count"] and ttft["client_mean_s"] < ttft["mean_s"] - CLOCKS_S:
        yield (f"the client's mean time to first token is {1e3 * ttft['client_mean_s']:.1f} ms, the server's part of "
               f"it {1e3 * ttft['mean_s']:.1f} ms")
