"""What GuideLLM wrote of one window, as the figures and tables that our own client leaves.

GuideLLM stamps a request's beginning, its first and its last token, in user space and by `time.time()`, the wall clock.
Its own figures span warm-up, ramp and drain, so only its requests are read: the window, the intervals and the
percentiles are ours, made of its stamps. The tokens between a request's first and last are taken to have come evenly,
as GuideLLM takes them; a time between single tokens (ITL) there is therefore not.
"""

import hashlib
import heapq
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from quantcheck.errors import EngineError
from quantcheck.load.columns import NONE, Columns
from quantcheck.load.figures import samples, spread
from quantcheck.load.raw import Table
from quantcheck.load.summary import window_figures
from quantcheck.load.window import find_window
from quantcheck.spec.load import SLO

__all__ = ["CLOCK", "Asked", "read_report"]

CLOCK = "time.time() of GuideLLM's process: first and last token of each request, in user space"
_EVENLY = "GuideLLM stamps a request's first and last token alone: there are no times between single tokens, see tpot"
_NUMBERED = re.compile(r'"\s*\d{1,9} (\d{1,9}) m0\b')
_OUTCOMES = {"successful": "ok", "errored": "error", "incomplete": "cancelled"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the window was asked for: requests by phase, streams or rate, tokens of each prompt and answer."""

    warmup: int
    measured: int
    prompt_tokens: int
    output_tokens: int
    concurrency: int | None
    rate: float | None


class _Timings(BaseModel):
    """Unix time in s."""

    targeted_start: float | None = None
    request_start: float | None = None
    first_token_iteration: float | None = None
    last_token_iteration: float | None = None
    request_end: float | None = None
    resolve_end: float | None = None


class _Info(BaseModel):
    timings: _Timings
    error: str | None = None


class _Request(BaseModel):
    info: _Info
    request_args: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None


class _Requests(BaseModel):
    successful: list[_Request] | None = None
    errored: list[_Request] | None = None
    incomplete: list[_Request] | None = None


class _Benchmark(BaseModel):
    requests: _Requests


class _Metadata(BaseModel):
    guidellm_version: str


class _Report(BaseModel):
    metadata: _Metadata
    benchmarks: list[_Benchmark]


def read_report(
    text: str, asked: Asked, *, name: str, now: tuple[int, float], slo: SLO | None = None
) -> tuple[dict[str, Any], dict[str, Table]]:
    """The `result` of a load cell and its table `requests`.

    `name`: of the file, for messages. `now`: CLOCK_MONOTONIC in ns and Unix time in s at one moment, by which stamps
    become monotonic. Raises `EngineError` for a file that GuideLLM 0.8 did not write to its end, or without requests.
    """
    remedy = "run again; where it stays, another GuideLLM (`quantcheck engines install guidellm` has 0.8)"
    try:
        report = _Report.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise EngineError(f"{name}: is not what GuideLLM 0.8 writes ({'.'.join(map(str, first['loc'])) or 'JSON'}: "
                          f"{first['msg']}); {remedy}") from None
    if len(report.benchmarks) != 1:
        raise EngineError(f"{name}: holds {len(report.benchmarks)} benchmarks, and one was asked for; {remedy}")
    kept = report.benchmarks[0].requests
    told = [(_OUTCOMES[key], one) for key in _OUTCOMES for one in getattr(kept, key) or ()]
    begun = [(outcome, one) for outcome, one in told if one.info.timings.request_start is not None]
    begun.sort(key=lambda pair: pair[1].info.timings.request_start or 0.0)
    if len(begun) <= asked.warmup:
        raise EngineError(f"{name}: GuideLLM began {len(begun)} requests, {asked.warmup} of them to warm up; "
                          "its log tells why")
    load, outcomes, details = _columns(begun, asked, now)
    window = find_window(load)
    found = {key: sample for key, sample in samples(load, window).items() if key not in ("itl", "chunk_gap")}
    phases = _phases(len(begun), asked)
    mine = load.measured
    good = mine & load.ok
    metrics = window_figures(load, window, found, slo, untold={"itl": _EVENLY, "chunk_gap": _EVENLY})
    cached = [one.cached_tokens for (_, one), well in zip(begun, good, strict=True)
              if well and one.cached_tokens is not None]
    lag = (load.sent - load.due)[mine] / 1e9 if load.open_loop else None
    lengths = load.tokens[good]
    result: dict[str, Any] = {
        "measured_by": "guidellm",
        "requests": int(mine.sum()),
        "outcomes": dict(Counter(outcome for outcome, own in zip(outcomes, mine, strict=True) if own)),
        "concurrency": asked.concurrency,
        "rate": asked.rate,
        "prompt_tokens": int(load.prompt[mine].sum()),
        "output_tokens": int(load.tokens[mine].sum()),
        **metrics,
        "token_counts": {
            "counted_by": {"server": int(good.sum())},
            "longer_than_asked": int((lengths > asked.output_tokens).sum()),
            "shorter_than_asked": int((lengths < asked.output_tokens).sum()),
            "prompt_unlike_server": int((load.prompt[good] != asked.prompt_tokens).sum()),
            "prompt_cached": sum(cached) if cached else None,
        },
        "client": {
            "tool": "guidellm", "version": report.metadata.guidellm_version, "clock": CLOCK, "limited": [],
            "schedule_lag": spread(lag) if lag is not None else None, "read_lag": None,
        },
        "prompts_sha256": _prompts_sha256(begun, asked.warmup + asked.measured),
        "began_monotonic_ns": window.begin_ns,
        "engine_idle_before": None,
        "faults": [f"request {place}: {outcome}: {detail}"[:300] for place, (outcome, detail, own)
                   in enumerate(zip(outcomes, details, mine, strict=True)) if own and outcome != "ok"][:5],
        "problem": None,
    }
    result["notes"] = _notes(result, int(good.sum()), asked)
    return result, {"requests": _table(load, phases, outcomes, details, window.begin_ns)}


def _phases(count: int, asked: Asked) -> NDArray[np.object_]:
    """By the order of their beginnings, which is that in which they were to be sent."""
    phases = np.full(count, "tail", object)
    phases[: asked.warmup + asked.measured] = "measured"
    phases[: asked.warmup] = "warmup"
    return phases


def _columns(
    begun: list[tuple[str, _Request]], asked: Asked, now: tuple[int, float]
) -> tuple[Columns, list[str], list[str]]:
    """The requests as columns, their outcomes and what went wrong with each."""
    def ns(times: list[float | None]) -> NDArray[np.int64]:
        return np.array([NONE if one is None else now[0] + round((one - now[1]) * 1e9) for one in times], np.int64)

    times = [one.info.timings for _, one in begun]
    sent, first, last = (ns([getattr(one, key) for one in times]) for key in (
        "request_start", "first_token_iteration", "last_token_iteration"))
    gone = ns([one.request_end or one.resolve_end or one.last_token_iteration or one.request_start for one in times])
    tokens = np.array([one.output_tokens or 0 for _, one in begun], np.int64)
    # Whole answers alone are good ones: GuideLLM takes one that the server ended early for a success.
    outcomes = [outcome if outcome != "ok" or (begin != NONE and count >= asked.output_tokens) else "incomplete"
                for (outcome, _), begin, count in zip(begun, first, tokens, strict=True)]
    details = [one.info.error or (f"{count} of {asked.output_tokens} tokens" if outcome == "incomplete" else "")
               for (_, one), outcome, count in zip(begun, outcomes, tokens, strict=True)]
    ok = np.array([outcome == "ok" for outcome in outcomes], np.bool_)
    end = np.where(last != NONE, last, gone)
    seen = np.where(first != NONE, tokens, 0)
    row = np.repeat(np.arange(len(begun), dtype=np.int64), seen)
    place = np.arange(len(row)) - np.repeat(np.cumsum(seen) - seen, seen)
    share = place / np.maximum(seen[row] - 1, 1)
    open_loop = asked.rate is not None
    return Columns(
        measured=_phases(len(begun), asked) == "measured",
        stream=_streams(sent, gone),
        due=ns([one.targeted_start for one in times]) if open_loop else np.full(len(begun), NONE, np.int64),
        sent=sent, first=first, end=end, left=np.where(ok, end, gone), tokens=tokens,
        prompt=np.array([one.prompt_tokens or 0 for _, one in begun], np.int64),
        ok=ok, waited_out=np.zeros(len(begun), np.bool_),
        useful=np.array([outcome in ("ok", "cancelled") for outcome in outcomes], np.bool_),
        streamed=first != NONE,
        row=row, at=first[row] + np.round(share * (end - first)[row]).astype(np.int64),
        chunk_tokens=np.ones(len(row), np.int64), weight=np.ones(len(row)), together=np.zeros(len(row), np.bool_),
    ), outcomes, details


def _streams(sent: NDArray[np.int64], gone: NDArray[np.int64]) -> NDArray[np.int64]:
    """A stream for each request, [n] in the order of `sent`: GuideLLM does not tell, so the one that was free first."""
    free: list[tuple[int, int]] = []
    streams = []
    for begin, end in zip(sent.tolist(), gone.tolist(), strict=True):
        stream = heapq.heappop(free)[1] if free and free[0][0] <= begin else len(free)
        heapq.heappush(free, (end, stream))
        streams.append(stream)
    return np.array(streams, np.int64)


def _prompts_sha256(begun: list[tuple[str, _Request]], count: int) -> str:
    """Of the first `count` prompts by the number that each begins with, in the order of their texts: streams take turns
    differently from run to run, and the run's end meets another one. Of all where there is no such number.
    """
    texts = []
    for _, one in begun:
        try:
            body = json.loads(one.request_args or "{}")["body"]
            texts.append(json.dumps(body.get("prompt", body.get("messages"))))
        except (ValueError, KeyError, TypeError, AttributeError):
            texts.append("")
    numbered = [text for text in texts if (found := _NUMBERED.match(text)) and int(found[1]) < count]
    return hashlib.sha256("\n".join(sorted(numbered or texts)).encode()).hexdigest()


def _notes(result: dict[str, Any], good: int, asked: Asked) -> list[str]:
    counts = result["token_counts"]
    notes = [f"measured by GuideLLM {result['client']['version']}: {CLOCK}"]
    if result["window"]["steady"] is False:
        notes.append(result["window"]["reason"])
    if counts["longer_than_asked"]:
        notes.append(f"{counts['longer_than_asked']} of {good} answers are longer than asked for")
    if counts["prompt_unlike_server"]:
        notes.append(f"prompts are text: the server counts other lengths than {asked.prompt_tokens} tokens in "
                     f"{counts['prompt_unlike_server']} of {good} requests")
    return notes


def _table(
    load: Columns, phases: NDArray[np.object_], outcomes: list[str], details: list[str], zero_ns: int
) -> Table:
    def seconds(times: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.where(times == NONE, np.nan, (times - zero_ns) / 1e9)

    return {
        "request": np.arange(len(outcomes), dtype=np.int32),
        "stream": load.stream.astype(np.int32),
        "phase": phases,
        "prompt_tokens": load.prompt.astype(np.int32),
        "output_tokens": load.tokens.astype(np.int32),
        "due_s": seconds(load.due), "sent_s": seconds(load.sent), "first_s": seconds(load.first),
        "last_s": seconds(np.where(load.streamed, load.end, NONE)), "end_s": seconds(load.left),
        "status": np.zeros(len(outcomes), np.int32),
        "outcome": np.array(outcomes, object),
        "detail": np.array(details, object),
    }
