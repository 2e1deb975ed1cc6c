"""The figures of one window: latencies of its own requests, and rates of everything that happened in it.

Rates count what lies in (begin, end]: all tokens that arrived in the window, whatever request they belong to, all
requests that ended in it. Latencies are those of the window's own requests that ended well; the schedule lag is that of
all its own.
"""

from dataclasses import dataclass

import numpy as np

from quantcheck.load.columns import NONE, BoolArray, Columns, FloatArray, IntArray
from quantcheck.load.intervals import (
    PER_SLICE,
    SLICES,
    Bounds,
    clustered_quantile,
    order_interval,
    rate_interval,
)
from quantcheck.load.window import Window

__all__ = ["Flow", "Sample", "flows", "in_flight", "littles_law", "rate_intervals", "samples", "spread", "throughput"]


@dataclass(frozen=True, slots=True)
class Sample:
    """`values` [m] in s; `request` [m] tells whose they are where one request gives several, else None."""

    values: FloatArray
    request: IntArray | None = None

    def interval(self, q: float) -> Bounds | None:
        """95% interval of the `q` quantile; None when there are too few values, or requests that give them."""
        if self.request is None:
            return order_interval(self.values, q)
        return clustered_quantile(self.values, self.request, q)


@dataclass(frozen=True, slots=True)
class Flow:
    """What happens in a window: `weights` [m] of it at `times` [m], in s after the window's begin."""

    times: FloatArray
    weights: FloatArray


def spread(seconds: FloatArray) -> dict[str, float] | None:
    """p50, p90, p99 and the greatest of `seconds` [n]; None when n = 0."""
    if not len(seconds):
        return None
    p50, p90, p99 = np.quantile(seconds, [0.5, 0.9, 0.99])
    return {"p50": float(p50), "p90": float(p90), "p99": float(p99), "max": float(seconds.max())}


UNTOLD_SHARE = 0.01
"""By how much an answer's total may differ from the count of its chunks before that is no count by chunk."""


def samples(load: Columns, window: Window) -> dict[str, Sample]:
    """Latencies by metric, in s. Those from the intended send time are there in an open loop only."""
    good = window.own & load.ok
    live = good & load.streamed
    many = live & (load.tokens > 1)
    found = {
        "ttft": Sample((load.first - load.sent)[live] / 1e9),
        "tpot": Sample((load.end - load.first)[many] / (load.tokens[many] - 1) / 1e9),
        "itl": _gaps(load, live, per_token=True),
        "chunk_gap": _gaps(load, live, per_token=False),
        "e2e": Sample((load.end - load.sent)[good] / 1e9),
    }
    if load.open_loop:
        found["ttft_intended"] = Sample((load.first - load.due)[live] / 1e9)
        found["e2e_intended"] = Sample((load.end - load.due)[good] / 1e9)
        found["schedule_lag"] = Sample((load.sent - load.due)[window.own] / 1e9)
    return found


def _gaps(load: Columns, live: BoolArray, *, per_token: bool) -> Sample:
    """Time between consecutive chunks; per token, a chunk of k tokens gives k values, each 1/k of the gap before it.
    The first chunk's tokens have no chunk before them and give none. Per token, answers are left out whose total is not
    that of their chunks: it is then not known which chunk carried how many."""
    later = np.flatnonzero((load.row[1:] == load.row[:-1]) & live[load.row[1:]]) + 1
    gaps = (load.at[later] - load.at[later - 1]) / 1e9
    if not per_token:
        return Sample(gaps, load.row[later])
    known = np.abs(load.weight[later] - load.chunk_tokens[later]) <= UNTOLD_SHARE * load.chunk_tokens[later]
    later, gaps = later[known], gaps[known]
    tokens = load.chunk_tokens[later]
    return Sample(np.repeat(gaps / tokens, tokens), np.repeat(load.row[later], tokens))


def flows(load: Columns, window: Window, met: BoolArray | None) -> dict[str, Flow]:
    """What the rates of `window` count, by metric. `met` [n]: which requests met the SLO, when there is one."""
    def flow(times: IntArray, weights: FloatArray | None = None) -> Flow:
        inside = (times > window.begin_ns) & (times <= window.end_ns)
        counted = np.ones(len(times)) if weights is None else weights
        return Flow((times[inside] - window.begin_ns) / 1e9, counted[inside])

    useful = load.useful[load.row]
    offered = load.due[load.due != NONE] if load.open_loop else load.sent
    found = {
        "output_throughput": flow(load.at[useful], load.weight[useful]),
        "request_throughput": flow(load.end[load.ok]),
        "offered_rate": flow(offered),
        "achieved_rate": flow(load.left),
    }
    prompts = load.useful & (load.first != NONE)
    known = load.prompt > 0
    if np.all(known[load.ok]) and known[prompts].any():
        # A request cut off by the run's end may lack the server's count: it takes the others' mean.
        lengths = np.where(known, load.prompt, load.prompt[prompts & known].mean())
        found["input_throughput"] = flow(load.first[prompts], lengths[prompts])
    if met is not None:
        found["goodput"] = flow(load.end[met])
    return found


def throughput(found: dict[str, Flow], window: Window) -> dict[str, float]:
    """Every flow's weight over the window's length, per s."""
    return {key: float(flow.weights.sum()) / window.length_s for key, flow in found.items()}


def rate_intervals(found: dict[str, Flow], window: Window) -> dict[str, Bounds] | str:
    """95% intervals of all rates by batch means over 10 to 30 equal time slices; or why there are none.

    A slice must see 5 requests end on average: shorter ones depend on each other.
    """
    ended = len(found["request_throughput"].times)
    slices = min(SLICES[1], ended // PER_SLICE)
    if slices < SLICES[0]:
        return f"needs {SLICES[0]} time slices in which {PER_SLICE} requests end; {ended} requests ended in the window"
    return {key: rate_interval(flow.times, flow.weights, window.length_s, slices) for key, flow in found.items()}


def in_flight(load: Columns, window: Window) -> float:
    """Time average over the window of the number of requests in flight, all phases, by integration."""
    inside = np.minimum(load.left, window.end_ns) - np.maximum(load.sent, window.begin_ns)
    return float(np.maximum(inside, 0).sum()) / (window.end_ns - window.begin_ns)


def littles_law(load: Columns, window: Window) -> float | None:
    """|L - lambda W| / L: requests in flight against completion rate times mean time in flight (Little 1961).

    It holds exactly over a whole busy period. In a window the requests that are in flight at its two ends do not
    cancel: expect about L / (number of completions). None when nothing was in flight or nothing completed.
    """
    held = in_flight(load, window)
    gone = (load.left > window.begin_ns) & (load.left <= window.end_ns)
    if held <= 0 or not gone.any():
        return None
    rate = int(gone.sum()) / window.length_s
    residence = float((load.left - load.sent)[gone].mean()) / 1e9
    return abs(held - rate * residence) / held
