"""What is kept of every request, from raw reads to tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.base import Dialect
from quantcheck.load.dialects import Stream, read_stream

__all__ = ["Exchange", "Outcome", "Phase", "Record", "Table", "read_exchange", "tables"]

Phase = Literal["warmup", "measured", "tail"]
Outcome = Literal["ok", "timeout", "http_error", "connection_error", "incomplete", "error_event", "cancelled"]
Table = dict[str, NDArray[Any]]


@dataclass(slots=True)
class Exchange:
    """One request as the hot path leaves it: stamps (monotonic ns) and bytes, nothing parsed."""

    request: int
    stream: int
    phase: Phase
    body: bytes
    prompt_tokens: int
    wanted: int
    sent_ns: int = 0
    end_ns: int = 0
    status: int | None = None
    reads: list[tuple[int, bytes]] = field(default_factory=list)
    fault: Literal["timeout", "connection_error", "cancelled"] | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One request, read."""

    exchange: Exchange
    answer: Stream
    outcome: Outcome
    detail: str


def read_exchange(exchange: Exchange, dialect: Dialect) -> Record:
    """Parses one exchange and judges it: only a whole answer of at least the wanted length is `ok`."""
    if exchange.status is not None and exchange.status != 200:
        body = b"".join(data for _, data in exchange.reads)[:200].decode("utf-8", "replace")
        return Record(exchange, Stream(), "http_error", f"status {exchange.status}: {body}")
    answer = read_stream(dialect, exchange.reads)
    outcome: Outcome = "ok"
    detail = exchange.detail
    if answer.error is not None:
        outcome, detail = "error_event", answer.error
    elif exchange.fault is not None:
        outcome = exchange.fault
    elif not answer.done:
        outcome, detail = "incomplete", f"{answer.tokens} tokens and no end mark"
    elif answer.tokens < exchange.wanted:
        outcome, detail = "incomplete", f"{answer.tokens} of {exchange.wanted} tokens"
    return Record(exchange, answer, outcome, detail)


def tables(records: Sequence[Record], zero_ns: int) -> dict[str, Table]:
    """`requests` and `chunks`, times in s with 0 at `zero_ns`; NaN where nothing was received.

    Requests of all phases are kept: throughput counts every token that arrived in the window.
    """
    def seconds(ns: float) -> float:
        return (ns - zero_ns) / 1e9

    def at(record: Record, place: int) -> float:
        return seconds(record.answer.chunks[place][0]) if record.answer.chunks else np.nan

    requests: Table = {
        "request": np.array([r.exchange.request for r in records], np.int32),
        "stream": np.array([r.exchange.stream for r in records], np.int32),
        "phase": np.array([r.exchange.phase for r in records], object),
        "prompt_tokens": np.array([r.exchange.prompt_tokens for r in records], np.int32),
        "output_tokens": np.array([r.answer.tokens for r in records], np.int32),
        "sent_s": np.array([seconds(r.exchange.sent_ns) for r in records], np.float64),
        "first_s": np.array([at(r, 0) for r in records], np.float64),
        "last_s": np.array([at(r, -1) for r in records], np.float64),
        "outcome": np.array([r.outcome for r in records], object),
    }
    chunks: Table = {
        "request": np.array([r.exchange.request for r in records for _ in r.answer.chunks], np.int32),
        "at_s": np.array([seconds(ns) for r in records for ns, _ in r.answer.chunks], np.float64),
        "tokens": np.array([tokens for r in records for _, tokens in r.answer.chunks], np.int32),
    }
    return {"requests": requests, "chunks": chunks}
