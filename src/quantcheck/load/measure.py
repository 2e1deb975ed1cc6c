"""One window, from a workload to its figures and raw tables."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantcheck.engines.base import Endpoint
from quantcheck.engines.health import get_text
from quantcheck.load.bodies import path
from quantcheck.load.build import POISSON, build_schedule
from quantcheck.load.client import Pulse, Send, Traffic, run_schedule
from quantcheck.load.hosts import clock_notes
from quantcheck.load.prompts import load_tokenizer
from quantcheck.load.raw import Table, tables
from quantcheck.load.records import Record, read_exchange
from quantcheck.load.schedule import Schedule
from quantcheck.load.sending import Sending
from quantcheck.load.summary import summarize
from quantcheck.load.target import target_of
from quantcheck.spec.load import SLO, Arrival, Workload

__all__ = ["LoadResult", "measure"]

IDLE_S = 10.0
IDLE_POLL_S = 0.02
RUNNING_GAUGES = ("llamacpp:requests_processing", "vllm:num_requests_running")
ALONE_S = 0.5


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One window: `summary` is the `result` of a load cell, `tables` its `requests` and `chunks`."""

    summary: dict[str, Any]
    tables: dict[str, Table] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        return bool(self.summary["client"]["interrupted"])

    @property
    def lost_host(self) -> bool:
        """Whether a host that made the load went away with what it had received."""
        return self.summary["client"].get("lost") is not None


DEFAULT = Sending()


def measure(
    endpoint: Endpoint,
    workload: Workload,
    *,
    concurrency: int | None = None,
    rate: float | None = None,
    arrival: Arrival = POISSON,
    requests: int,
    warmup_requests: int,
    seed: int,
    vocab_size: int | None,
    slo: SLO | None = None,
    calibration: dict[str, Any] | None = None,
    sending: Sending = DEFAULT,
    check: Callable[[], None] | None = None,
    watch: Callable[[Pulse], None] | None = None,
    send: Send = run_schedule,
) -> LoadResult:
    """Measures one window; `build_schedule` says what `concurrency`, `rate`, `requests` and `warmup_requests` mean.

    `check` is called all the while and raises when the engine is gone (`Engine.check`): the window then ends at once
    with that error. When as many requests in a row as there are streams (at least 2) meet their deadline, the window
    ends with what there is and `summary["problem"]` says so. `send`: who sends; not given: workers on this machine.
    Raises what `build_schedule` and `send` raise.
    """
    digest = ""

    def schedule() -> Schedule:
        nonlocal digest
        made = build_schedule(
            endpoint, workload, concurrency=concurrency, rate=rate, arrival=arrival, requests=requests,
            warmup_requests=warmup_requests, seed=seed, vocab_size=vocab_size, tokenizer=sending.tokenizer,
            prompt_form=sending.prompt_form, repeat=sending.repeat, stream=sending.stream, plain=sending.plain,
        )
        digest = made.sha256
        return made

    target = target_of(endpoint.base_url)
    idle = _wait_idle(endpoint)

    def pulse(now: Pulse) -> None:
        if check is not None:
            check()
        if watch is not None:
            watch(now)

    traffic = send(
        target, schedule, path=path(endpoint.dialect), streams=concurrency, rate=rate,
        limits=sending.limits, workers=sending.workers, kernel_stamps=sending.kernel_stamps,
        key_variable=sending.key_variable, scratch=sending.scratch, watch=pulse,
        keep_on_interrupt=sending.keep_on_interrupt,
    )
    if check is not None and any(exchange.fault in ("refused", "reset", "cut") for exchange in traffic.exchanges):
        _watch_on(check)
    records = _read(traffic, endpoint, sending.tokenizer)
    summary = summarize(records, slo=slo, concurrency=concurrency, rate=rate, calibration=calibration,
                        lost=traffic.facts.get("lost"))
    summary["client"] |= _client(traffic)
    summary["notes"] += [*clock_notes(summary), *traffic.facts.get("notes", ())]
    summary |= {
        "prompts_sha256": digest,
        "engine_idle_before": idle,
        "began_monotonic_ns": summary["window"]["begin_ns"],
        "problem": traffic.facts["ended_early"],
    }
    return LoadResult(summary, tables(records, summary["window"]["begin_ns"]))


def _read(traffic: Traffic, endpoint: Endpoint, tokenizer: Path | None) -> list[Record]:
    loaded = load_tokenizer(tokenizer) if tokenizer is not None else None
    was = gc.isenabled()
    gc.disable()  # millions of small objects without a cycle among them
    try:
        return [read_exchange(exchange, endpoint.dialect, loaded) for exchange in traffic.exchanges]
    finally:
        if was:
            gc.enable()


def _client(traffic: Traffic) -> dict[str, Any]:
    facts = traffic.facts
    tokens = sum(1 for exchange in traffic.exchanges for _ in exchange.pieces)
    return {
        **{key: facts[key] for key in ("transport", "workers", "cpu_s", "wall_s", "connections", "resent",
                                       "loop_lag", "clock_steps", "interrupted")},
        "hosts": facts.get("hosts"),
        "all_reads": tokens,
        "cpu_s_per_1000_reads": 1e3 * facts["cpu_s"] / tokens if tokens else None,
    }


def _watch_on(check: Callable[[], None]) -> None:
    """An engine's connections go before its process can be seen to have ended: a moment more, to name the cause."""
    end = time.monotonic() + ALONE_S
    check()
    while time.monotonic() < end:
        time.sleep(IDLE_POLL_S)
        check()


def _wait_idle(endpoint: Endpoint) -> bool | None:
    """Waits until no request of an earlier window is left in the engine; None when the engine does not tell."""
    end = time.monotonic() + IDLE_S
    while True:
        text = get_text(endpoint.base_url + "/metrics") or ""
        busy = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(RUNNING_GAUGES)]
        if not busy:
            return None
        if all(float(value) == 0 for value in busy):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(IDLE_POLL_S)
