"""The figures of one window, from its records: the `result` of a load cell.

`window` says what the window is, `figures` what is counted in it, `goodput` what met the SLO, `limits` whether the
client was the limit. This module puts them together and gives each missing figure its reason.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quantcheck.load.columns import Columns, columns
from quantcheck.load.figures import (
    Sample,
    flows,
    in_flight,
    littles_law,
    rate_intervals,
    samples,
    throughput,
)
from quantcheck.load.goodput import attainment, meets
from quantcheck.load.intervals import mean_interval
from quantcheck.load.limits import client_figures, client_limits
from quantcheck.load.records import Record
from quantcheck.load.window import Window, find_window
from quantcheck.spec.load import SLO

__all__ = ["LOAD_METRICS", "PERCENTILES", "summarize", "window_figures", "window_ns"]

PERCENTILES = {"p50": (50.0, 1), "p90": (90.0, 64), "p95": (95.0, 130), "p99": (99.0, 662), "p99.9": (99.9, 6636)}
"""Percentile and the least number of requests with which at least two lie beyond it, at 99% confidence."""

LOAD_METRICS = (
    "output_throughput", "request_throughput", "input_throughput", "offered_rate", "achieved_rate", "goodput",
    "slo_attainment", "ttft", "ttft_intended", "tpot", "itl", "chunk_gap", "e2e", "e2e_intended", "schedule_lag",
    "concurrency", "littles_law", "output_length",
)
"""Keys that a result has in `metrics`, or in `missing` with the reason."""

OPEN_LOOP_ONLY = ("ttft_intended", "e2e_intended", "schedule_lag")


def window_ns(records: Sequence[Record]) -> tuple[int, int]:
    """Begin and end of the window in monotonic ns; (0, 0) when no measured request was sent."""
    window = find_window(columns(records))
    return window.begin_ns, window.end_ns


def summarize(
    records: Sequence[Record], *, slo: SLO | None = None, concurrency: int | None = None, rate: float | None = None,
    calibration: Mapping[str, Any] | None = None, lost: int | None = None,
) -> dict[str, Any]:
    """The `result` of a load cell, JSON-able, without what only the engine knows.

    `records`: of all phases. `concurrency` or `rate`: what was asked for. `calibration`: what this client reached on
    this machine, `chunks_per_s`. `lost`: requests that are in no record, because they were lost with the host that had
    sent them; None: no host was lost. Durations are in s. Metrics without a value are not in `metrics` but in
    `missing`.
    """
    load = columns(records)
    window = find_window(load)
    measured = [r for r in records if r.exchange.phase == "measured"]
    good = [r for r, mine in zip(records, window.own & load.ok, strict=True) if mine]
    result: dict[str, Any] = {
        "requests": len(measured) + (lost or 0),
        "outcomes": dict(Counter(r.outcome for r in measured)) | ({"lost": lost} if lost else {}),
        "concurrency": concurrency,
        "rate": rate,
        "prompt_tokens": sum(r.prompt_tokens for r in measured),
        "output_tokens": sum(r.output_tokens for r in measured),
        **window_figures(load, window, samples(load, window), slo, lost=lost or 0),
        "token_counts": _reconcile(good),
        "client": client_figures(records, load, window, calibration=calibration, lost=lost),
        "faults": [f"request {r.exchange.request}: {r.outcome}: {r.detail}"[:300]
                   for r in measured if r.outcome != "ok"][:5],
    }
    result["coalesced_chunks"] = result["client"]["coalesced"]
    result["client"]["limited"] = client_limits(result)
    result["notes"] = _notes(result)
    return result


def window_figures(
    load: Columns, window: Window, found: Mapping[str, Sample], slo: SLO | None, *,
    untold: Mapping[str, str] | None = None, lost: int = 0,
) -> dict[str, Any]:
    """What a result says of its window, whoever sent the requests: metrics, intervals, percentiles, and why any is
    missing. `found`: the latencies; `untold`: why others are not told, by metric. `lost`: requests that are not in
    `load` and met no SLO.
    """
    met = np.append(meets(load, slo)[window.own], np.zeros(lost, np.bool_)) if slo else None
    attained = attainment(met, slo) if met is not None and slo is not None else None
    metrics, intervals, refused = _metrics(load, window, found, slo, attained)
    good = int((window.own & load.ok).sum())
    reasons = untold or {}
    return {
        "window_s": window.length_s,
        "window_method": window.method,
        "window": window.as_json(),
        "metrics": metrics,
        "missing": {key: reasons.get(key) or _why(key, load, window, slo) for key in LOAD_METRICS
                    if key not in metrics},
        "percentiles": {
            key: {name: float(np.percentile(sample.values, q)) for name, (q, need) in PERCENTILES.items()
                  if good >= need and len(sample.values)}
            for key, sample in found.items()
        },
        "percentiles_refused": {
            name: f"needs {need} requests, has {good}"
            for name, (_, need) in PERCENTILES.items() if good < need
        },
        "intervals": {key: list(bounds) for key, bounds in intervals.items()},
        "intervals_refused": refused,
        "slo": attained,
    }


def _metrics(
    load: Columns, window: Window, found: Mapping[str, Sample], slo: SLO | None, attained: Mapping[str, Any] | None
) -> tuple[dict[str, float], dict[str, tuple[float, float]], dict[str, str]]:
    """Values, intervals, and reasons why whole groups of intervals are missing. Without a good request there is
    nothing to say but that no request met the SLO."""
    met = meets(load, slo) if slo else None
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    refused: dict[str, str] = {}
    good = window.own & load.ok
    if attained is not None and window.own.any():
        metrics["slo_attainment"] = attained["attained"]
        intervals["slo_attainment"] = (attained["interval"][0], attained["interval"][1])
    if not good.any():
        return metrics | ({"goodput": 0.0} if metrics else {}), intervals, refused
    if window.length_s > 0:
        flow = flows(load, window, met)
        metrics |= throughput(flow, window)
        metrics["concurrency"] = in_flight(load, window)
        if (law := littles_law(load, window)) is not None:
            metrics["littles_law"] = law
        rates = rate_intervals(flow, window)
        if isinstance(rates, str):
            refused["rates"] = rates
        else:
            intervals |= rates
    metrics |= {key: float(np.median(s.values)) for key, s in found.items() if len(s.values)}
    lengths = load.tokens[good].astype(np.float64)
    metrics["output_length"] = float(lengths.mean())
    if len(lengths) > 1:
        intervals["output_length"] = mean_interval(lengths)
    for key, sample in found.items():
        for name, (q, need) in PERCENTILES.items():
            if good.sum() < need or not len(sample.values):
                continue
            label = key if name == "p50" else f"{key}_{name}"
            if (bounds := sample.interval(q / 100)) is None:
                refused[label] = f"too few requests ({int(good.sum())}) for an interval of {name}"
            else:
                intervals[label] = bounds
    return metrics, intervals, refused


def _why(key: str, load: Columns, window: Window, slo: SLO | None) -> str:
    if not load.measured.any():
        return "no measured request was sent"
    if key in OPEN_LOOP_ONLY and not load.open_loop:
        return "closed loop: there is no intended send time"
    if key in ("goodput", "slo_attainment") and slo is None:
        return "no SLO given"
    if not (window.own & load.ok).any():
        return "no request of the window ended well"
    if key in ("ttft", "ttft_intended", "tpot", "itl", "chunk_gap"):
        if not (window.own & load.ok & load.streamed).any():
            return "the answers were not streamed"
        if key == "itl" and (load.weight != load.chunk_tokens).any():
            return "the server tells only an answer's total, not which chunk carries how many tokens; see chunk_gap"
        return "no answer has more than one token" if key == "tpot" else "no answer has more than one chunk"
    if window.length_s <= 0:
        return "the window has no length"
    return "prompt lengths are not known" if key == "input_throughput" else "nothing completed in the window"


def _reconcile(good: Sequence[Record]) -> dict[str, Any]:
    """How tokens were counted, how often and by how many that differs from the server's total, and how the answers'
    lengths compare with what was asked for."""
    differences = [r.answer.difference for r in good if r.answer.difference]
    free = [r.output_tokens for r in good if not r.exchange.forced]
    cached = [r.answer.cached_tokens for r in good if r.answer.cached_tokens is not None]
    return {
        "counted_by": dict(Counter(r.answer.counted for r in good)),
        "unlike_server": len(differences),
        "unlike_server_tokens": sum(differences),
        "server_total_missing": sum(r.answer.total is None for r in good),
        "longer_than_asked": sum(r.long for r in good),
        "shorter_than_asked": sum(r.short for r in good),
        "prompt_unlike_server": sum(
            r.answer.prompt_tokens is not None and 0 < r.exchange.prompt_tokens != r.answer.prompt_tokens for r in good
        ),
        "prompt_cached": sum(cached) if cached else None,
        "free_length_mean": float(np.mean(free)) if free else None,
    }


def _notes(result: Mapping[str, Any]) -> list[str]:
    """What a reader must know of this window, one line each."""
    counts, client, window = result["token_counts"], result["client"], result["window"]
    ok = sum(counts["counted_by"].values())
    notes = [f"invalid (client-limited): {reason}" for reason in client["limited"]]
    if window["steady"] is False:
        notes.append(window["reason"])
    if counts["shorter_than_asked"]:
        notes.append(f"the server did not force the length: {counts['shorter_than_asked']} of {ok} answers are shorter "
                     "than asked for")
    if counts["longer_than_asked"]:
        notes.append(f"{counts['longer_than_asked']} of {ok} answers are longer than asked for")
    if counts["unlike_server"]:
        notes.append(f"token counts differ from the server's in {counts['unlike_server']} of {ok} answers, by "
                     f"{counts['unlike_server_tokens']:+d} tokens in all")
    if counts["prompt_unlike_server"]:
        notes.append(f"the server counts other prompt lengths than were sent in {counts['prompt_unlike_server']} of "
                     f"{ok} requests")
    return notes
