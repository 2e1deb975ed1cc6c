"""A closed-loop streaming client: N streams, each sends its next request when the last one is answered.

It runs in a thread with an event loop of its own, while the caller's thread watches the engine. In the hot path there
is one clock reading and one append per piece of data; everything is parsed when the window is over, and garbage
collection is off until then.
"""

import asyncio
import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp

from quantcheck.engines.base import Endpoint
from quantcheck.errors import SpecError
from quantcheck.load.dialects import path, request_body
from quantcheck.load.prompts import PromptSource, prompts_sha256
from quantcheck.load.records import Exchange, Phase, Table, read_exchange, tables
from quantcheck.load.summary import summarize, window_ns
from quantcheck.spec.experiment import Workload

__all__ = ["LoadResult", "measure"]

WATCH_S = 0.1
IDLE_S = 10.0
RUNNING_GAUGES = ("llamacpp:requests_processing", "vllm:num_requests_running")


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One window: `summary` is the `result` of a load cell, `tables` its `requests` and `chunks`."""

    summary: dict[str, Any]
    tables: dict[str, Table]


def measure(
    endpoint: Endpoint,
    workload: Workload,
    *,
    concurrency: int,
    requests: int,
    warmup_requests: int,
    seed: int,
    vocab_size: int,
    timeout_s: float,
    check: Callable[[], None] | None = None,
) -> LoadResult:
    """Measures one window: `requests` in all (at least `concurrency`), after `warmup_requests` per stream.

    The streams are spread over an answer's course by the lengths of their first warm-up answers; without warm-up all
    start together, and a server that batches then shows the TTFT of a queue as long as there are streams.
    `timeout_s` is each request's deadline; when as many requests in a row as there are streams (at least 2) meet it,
    the window ends with what there is and `summary["problem"]` says so. `check` is called all the while and raises
    when the engine is gone (`Engine.check`): the window then ends at once with that error. Raises `SpecError` for
    numbers that do not fit together.
    """
    if requests < concurrency:
        raise SpecError(f"load.requests: {requests} is below the concurrency of {concurrency}; give at least as many")
    window = _prepare(endpoint, workload, concurrency, requests, warmup_requests, seed, vocab_size, timeout_s)
    with _collector_off():
        _run_watched(window, check)
    if check is not None and any(exchange.fault == "connection_error" for exchange in window.sent):
        # Its connections go before the process can be seen to have ended.
        _watch_until(time.monotonic() + 5 * WATCH_S, check)
    records = [read_exchange(exchange, endpoint.dialect) for exchange in window.sent]
    begin_ns, end_ns = window_ns(records)
    found = tables(records, begin_ns)
    summary = summarize(records, found, (end_ns - begin_ns) / 1e9)
    summary |= {
        "concurrency": concurrency,
        "prompts_sha256": window.prompts_sha256,
        "engine_idle_before": window.idle_before,
        "began_monotonic_ns": begin_ns,
        "problem": window.problem,
    }
    return LoadResult(summary, found)


@dataclass(slots=True)
class _Window:
    """Everything that the loop needs, made beforehand, and what it leaves behind (`sent`)."""

    endpoint: Endpoint
    concurrency: int
    timeout_s: float
    warmup: list[list[Exchange]]
    measured: deque[Exchange]
    more: Callable[[int], Exchange]
    prompts_sha256: str
    sent: list[Exchange] = field(default_factory=list)
    pending: int = 0
    timeouts: int = 0
    problem: str | None = None
    idle_before: bool | None = None


def _prepare(
    endpoint: Endpoint, workload: Workload, concurrency: int, requests: int, warmup_requests: int,
    seed: int, vocab_size: int, timeout_s: float,
) -> _Window:
    source = PromptSource(seed, vocab_size)
    count = 0

    def exchange(phase: Phase, stream: int = -1, wanted: int = workload.output_tokens) -> Exchange:
        nonlocal count
        prompt = source.draw(workload.prompt_tokens)
        if phase == "measured":
            measured_prompts.append(prompt)
        body = request_body(endpoint, prompt, wanted)
        count += 1
        return Exchange(count - 1, stream, phase, body, len(prompt), wanted)

    measured_prompts: list[Any] = []
    measured = deque(exchange("measured") for _ in range(requests))
    # The streams' first answers have staggered lengths, so that the streams are spread evenly over an answer's course
    # when they are measured. Started together they may stay in step for ever, or not, by chance.
    first = [max(1, round(workload.output_tokens * (k + 1) / concurrency)) for k in range(concurrency)]
    warmup = [
        [exchange("warmup", k, workload.output_tokens if turn else first[k]) for turn in range(warmup_requests)]
        for k in range(concurrency)
    ]
    tail = deque(exchange("tail") for _ in range(concurrency))

    def more(stream: int) -> Exchange:
        return tail.popleft() if tail else exchange("tail", stream)

    return _Window(endpoint, concurrency, timeout_s, warmup, measured, more, prompts_sha256(measured_prompts),
                   pending=requests)


@contextmanager
def _collector_off() -> Iterator[None]:
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _watch_until(end: float, check: Callable[[], None]) -> None:
    check()
    while time.monotonic() < end:
        time.sleep(WATCH_S / 5)
        check()


def _run_watched(window: _Window, check: Callable[[], None] | None) -> None:
    """Runs the window in a thread; an exception here (Ctrl-C, a dead engine) ends that thread first."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(_run(window))

    def body() -> None:
        try:
            loop.run_until_complete(asyncio.wait([task]))  # does not raise what the task raises
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    thread = threading.Thread(target=body, name="quantcheck-load", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(WATCH_S)
            if check is not None and thread.is_alive():
                check()
    finally:
        if thread.is_alive():
            with suppress(RuntimeError):  # the loop may have come to its end just now
                loop.call_soon_threadsafe(task.cancel)
            thread.join()
    task.result()


async def _run(window: _Window) -> None:
    url = window.endpoint.base_url + path(window.endpoint.dialect)
    finished = asyncio.Event()
    # A connection per request: llama.cpp's server closes each after a stream, although it says that it keeps them.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(_stamp_connected)
    # trust_env stays off: no proxy between us and the engine. Deadlines are ours, per request.
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=None), trace_configs=[trace]
    ) as session:
        window.idle_before = await _wait_idle(session, window.endpoint)
        streams = [asyncio.create_task(_stream(window, session, url, k, finished)) for k in range(window.concurrency)]
        try:
            await finished.wait()
        finally:
            for task in streams:
                task.cancel()
            results = await asyncio.gather(*streams, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


async def _stream(window: _Window, session: aiohttp.ClientSession, url: str, k: int, finished: asyncio.Event) -> None:
    """One stream; `finished` is set by the one that ends the last measured request, and by any that fails."""
    try:
        for exchange in window.warmup[k]:
            await _exchange(window, session, url, exchange)
        while window.measured and window.problem is None:
            exchange = window.measured.popleft()
            exchange.stream = k
            await _exchange(window, session, url, exchange)
            window.pending -= 1
        if window.problem is not None or not window.pending:
            return finished.set()
        while True:  # keeps the load up until the last measured request is answered; cancelled then
            exchange = window.more(k)
            exchange.stream = k
            await _exchange(window, session, url, exchange)
            if exchange.fault is not None or exchange.status != 200:
                return None
    except BaseException:
        finished.set()
        raise


async def _stamp_connected(session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
    """The request is written next: opening the connection is not part of its latency."""
    exchange = context.trace_request_ctx
    if exchange is not None:
        exchange.sent_ns = time.monotonic_ns()


async def _exchange(window: _Window, session: aiohttp.ClientSession, url: str, exchange: Exchange) -> None:
    headers = {"Content-Type": "application/json", "X-Request-Id": str(exchange.request)}
    append, clock = exchange.reads.append, time.monotonic_ns
    window.sent.append(exchange)
    try:
        async with asyncio.timeout(window.timeout_s):
            exchange.sent_ns = clock()  # stands when no connection comes about
            async with session.post(url, data=exchange.body, headers=headers, trace_request_ctx=exchange) as response:
                exchange.status = response.status
                async for data in response.content.iter_any():
                    append((clock(), data))
    except TimeoutError:
        exchange.fault, exchange.detail = "timeout", f"no whole answer within {window.timeout_s:g} s"
    except (aiohttp.ClientError, OSError) as error:
        exchange.fault, exchange.detail = "connection_error", str(error) or type(error).__name__
    except asyncio.CancelledError:
        exchange.fault = "cancelled"
        raise
    finally:
        exchange.end_ns = clock()
    window.timeouts = window.timeouts + 1 if exchange.fault == "timeout" else 0
    if window.timeouts >= max(2, window.concurrency):
        window.problem = f"{window.timeouts} requests in a row got no whole answer within {window.timeout_s:g} s each"


async def _wait_idle(session: aiohttp.ClientSession, endpoint: Endpoint) -> bool | None:
    """Waits until no request of an earlier window is left in the engine; None when the engine does not tell."""
    for _ in range(round(IDLE_S / WATCH_S)):
        try:
            async with session.get(endpoint.base_url + "/metrics") as response:
                text = await response.text() if response.status == 200 else ""
        except (aiohttp.ClientError, OSError):
            return None
        busy = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(RUNNING_GAUGES)]
        if not busy:
            return None
        if all(float(value) == 0 for value in busy):
            return True
        await asyncio.sleep(WATCH_S / 5)
    return False
