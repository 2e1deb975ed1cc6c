"""The requests of one load cell's window, out of its table: which were good, and what their latencies were."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantcheck.spec.load import SLO

__all__ = ["Requests", "goodput", "meets", "read_requests", "token_gaps"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Requests:
    """n requests of all phases; times in s after the window's begin, NaN where there is none.

    `own`: those of the window; measured, and not cut off as warm. `due`: when an open loop meant to send them, in a
    closed loop when they were sent. `end`: when the last token came, of a request that failed when it was given up
    (inf: not told). `prompt`: tokens, 0 where not known. `window_s` is None where a cell does not say how long its
    window was.
    """

    request: npt.NDArray[np.int64]
    own: BoolArray
    ok: BoolArray
    due: FloatArray
    sent: FloatArray
    first: FloatArray
    last: FloatArray
    end: FloatArray
    prompt: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    window_s: float | None


def read_requests(result: Mapping[str, Any], table: Mapping[str, npt.NDArray[Any]]) -> Requests:
    """From a load cell's result and its table `requests`; cells of older versions lack some columns."""
    ok = np.asarray(table["outcome"]).astype(str) == "ok"
    sent, first, last = (np.asarray(table[key], dtype=np.float64) for key in ("sent_s", "first_s", "last_s"))
    own = np.ones(len(ok), np.bool_)
    if "phase" in table:  # warm-up and tail requests keep the streams busy, they are not measured
        own &= np.asarray(table["phase"]).astype(str) == "measured"
    end = np.where(ok, last, np.asarray(table["end_s"], np.float64) if "end_s" in table else np.inf)
    open_loop = result.get("rate") is not None
    if open_loop:
        due = np.asarray(table["due_s"], dtype=np.float64)
        due = np.where(np.isnan(due), sent, due)  # a warm-up request before the schedule began
        own &= due >= 0
    else:
        due = sent
        # Those that were cut as warm ended before the window's begin, which is 0.
        own &= end >= 0
    return Requests(
        np.asarray(table["request"], np.int64), own, ok, due, sent, first, last, end,
        np.asarray(table["prompt_tokens"], np.int64) if "prompt_tokens" in table else np.zeros(len(ok), np.int64),
        np.asarray(table["output_tokens"], np.int64), result.get("window_s"),
    )  # fmt: skip


def meets(requests: Requests, slo: SLO) -> BoolArray:
    """bool[n]: which requests met `slo`, by the rule of `load/goodput.py`: all its limits hold, and it ended well.

    TTFT and end to end count from `due`; an answer of one token has no time per token and cannot break it.
    """
    good = requests.ok.copy()
    if slo.ttft_ms is not None:
        good &= requests.first - requests.due <= slo.ttft_ms / 1e3
    if slo.itl_ms is not None:
        good &= requests.last - requests.first <= slo.itl_ms / 1e3 * (requests.tokens - 1)
    if slo.e2e_ms is not None:
        good &= requests.last - requests.due <= slo.e2e_ms / 1e3
    return good


def goodput(requests: Requests, slo: SLO) -> float | None:
    """Good requests that ended in the window, of any phase, per s; None for a window without a length."""
    if not requests.window_s:
        return None
    inside = (requests.last > 0) & (requests.last <= requests.window_s)
    return float(np.sum(meets(requests, slo) & inside)) / requests.window_s


def token_gaps(requests: Requests, chunks: Mapping[str, npt.NDArray[Any]]) -> FloatArray:
    """Time between consecutive tokens of the window's good requests, in s, one value per token (ITL).

    A chunk of k tokens gives k values, each 1/k of the gap before it; an answer's first chunk gives none.
    """
    counted = requests.request[requests.own & requests.ok]
    request, at = np.asarray(chunks["request"], np.int64), np.asarray(chunks["at_s"], np.float64)
    live = np.zeros(int(max(request.max(initial=0), counted.max(initial=0))) + 1, np.bool_)
    live[counted] = True
    later = np.flatnonzero((request[1:] == request[:-1]) & live[request[1:]]) + 1
    tokens = np.asarray(chunks["tokens"], np.int64)[later]
    gaps = (at[later] - at[later - 1])[tokens > 0]
    tokens = tokens[tokens > 0]
    return np.repeat(gaps / tokens, tokens)
