"""What is kept of every request: its exchange, the answer read, and a verdict on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.base import Dialect
from quantcheck.load.dialects import Stream, read_stream
from quantcheck.load.exchange import Exchange
from quantcheck.load.schedule import Phase
from quantcheck.load.tokens import EXACT

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["OUTCOMES", "Exchange", "Outcome", "Phase", "Record", "read_exchange"]

Outcome = Literal[
    "ok", "refused", "reset", "cut", "incomplete", "rate_limited", "server_error", "client_error", "error_event",
    "garbage", "empty", "no_first_byte", "stalled", "cancelled",
]
OUTCOMES: dict[Outcome, str] = {
    "ok": "a whole answer",
    "refused": "no connection came about",
    "reset": "the server reset the connection",
    "cut": "the connection ended amid the HTTP response",
    "incomplete": "a whole HTTP response whose answer is not whole",
    "rate_limited": "status 429",
    "server_error": "status 5xx",
    "client_error": "another status than 200",
    "error_event": "an error within the answer",
    "garbage": "an event that cannot be read",
    "empty": "an answer without any token",
    "no_first_byte": "nothing of the answer came before the deadline",
    "stalled": "the answer stood still until the deadline",
    "cancelled": "the run ended first",
}

ENDED_BY_MODEL = frozenset({"stop", "tool_calls", "function_call", "eos_token"})


@dataclass(frozen=True)
class Record:
    """One request, read. Times are CLOCK_MONOTONIC in ns; "chunks" are those that carry tokens (`Stream.chunks`)."""

    exchange: Exchange
    answer: Stream
    outcome: Outcome
    detail: str

    @cached_property
    def stamps(self) -> Literal["kernel", "user"]:
        """Whose stamps `stamps_ns` are: the kernel's where every read of the exchange has one."""
        kernel = self.exchange.kernel_ns
        return "kernel" if len(kernel) and np.all(np.asarray(kernel) > 0) else "user"

    @cached_property
    def reads(self) -> NDArray[np.int32]:
        """int32[chunks]: the read that each chunk came with."""
        return np.array([chunk[0] for chunk in self.answer.chunks], np.int32)

    @cached_property
    def chunk_tokens(self) -> NDArray[np.int32]:
        """int32[chunks]: tokens of each chunk."""
        return np.array([chunk[1] for chunk in self.answer.chunks], np.int32)

    @cached_property
    def user_stamps_ns(self) -> NDArray[np.int64]:
        """int64[chunks]: when this process received each chunk."""
        return np.asarray(self.exchange.user_ns, np.int64)[self.reads]

    @cached_property
    def kernel_stamps_ns(self) -> NDArray[np.int64]:
        """int64[chunks]: when the kernel received each chunk; 0 where it did not say."""
        return np.asarray(self.exchange.kernel_ns, np.int64)[self.reads]

    @property
    def stamps_ns(self) -> NDArray[np.int64]:
        """int64[chunks]: the best stamps that all chunks have (`stamps` says which)."""
        return self.kernel_stamps_ns if self.stamps == "kernel" else self.user_stamps_ns

    @property
    def first_ns(self) -> int | None:
        """Of the first chunk; None when there is none. No TTFT when the answer was not streamed."""
        return int(self.stamps_ns[0]) if self.answer.chunks else None

    @property
    def last_ns(self) -> int | None:
        """Of the last chunk; None when there is none."""
        return int(self.stamps_ns[-1]) if self.answer.chunks else None

    @property
    def output_tokens(self) -> int:
        """The answer's length: counted in its chunks, or the server's total where the count is an estimate."""
        answer = self.answer
        return answer.tokens if answer.counted in EXACT or answer.total is None else answer.total

    @property
    def prompt_tokens(self) -> int:
        """As sent; by the server's count where that is not known; else 0."""
        return self.exchange.prompt_tokens or self.answer.prompt_tokens or 0

    @property
    def short(self) -> bool:
        """An `ok` answer that the model ended before its forced length: the server cannot force the length."""
        return (self.outcome == "ok" and self.exchange.forced and self.output_tokens < self.exchange.wanted
                and self.answer.finish_reason in ENDED_BY_MODEL)

    @property
    def long(self) -> bool:
        """More tokens came than were asked for."""
        return self.output_tokens > self.exchange.wanted

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which a server that refused for load wants to be asked again (Retry-After)."""
        return _retry_after_s(self.exchange.headers) if self.exchange.status in (429, 503) else None


def read_exchange(exchange: Exchange, dialect: Dialect, tokenizer: "Tokenizer | None" = None) -> Record:
    """Parses one exchange and judges it: only a whole answer is `ok`. Never raises for what a server sent.

    A fault on the wire goes before everything else, but for a connection that ended between the answer's end mark and
    the end of the HTTP response. An answer is whole with its end mark, or with a finish reason and its full length;
    one that must have a forced length and is shorter is `incomplete`, unless the model ended it (`Record.short`).
    """
    answer = read_stream(dialect, exchange.pieces, tokenizer) if exchange.status == 200 else Stream()
    outcome, detail = _judge(exchange, answer)
    return Record(exchange, answer, outcome, detail)


def _judge(exchange: Exchange, answer: Stream) -> tuple[Outcome, str]:
    status, fault = exchange.status, exchange.fault
    if fault is not None and not (fault == "cut" and answer.done):
        told = "" if status in (None, 200) else f"status {status}"
        return fault, "; ".join(filter(None, (exchange.detail, told, answer.error)))
    if status is None:
        return "cut", exchange.detail or "no HTTP response"
    if status != 200:
        return _refused(exchange, status)
    if answer.error is not None and answer.error_kind is not None:
        return answer.error_kind, answer.error
    if not answer.chunks:
        body = b"".join(exchange.pieces)[:800].decode("utf-8", "replace")[:200]
        return "empty", f"no token in the answer: {body}" if body else "status 200 and no body"
    return _judge_length(exchange, answer)


def _refused(exchange: Exchange, status: int) -> tuple[Outcome, str]:
    body = b"".join(exchange.pieces)[:800].decode("utf-8", "replace")[:200]
    detail = f"status {status}: {body}" if body else f"status {status}"
    if status == 429:
        after = exchange.headers.get("retry-after")
        return "rate_limited", f"{detail} (Retry-After: {after})" if after else detail
    return ("server_error" if 500 <= status < 600 else "client_error"), detail


def _judge_length(exchange: Exchange, answer: Stream) -> tuple[Outcome, str]:
    exact = answer.counted in EXACT
    tokens = answer.tokens if exact or answer.total is None else answer.total
    full = not exchange.forced or tokens >= exchange.wanted
    if not full and not exact and answer.total is None and answer.finish_reason == "length":
        full = True  # chunks may carry several tokens each, and the server says that the length was reached
    if not answer.done and not (answer.finish_reason and full):
        amid = ", ended amid an event" if answer.unfinished else ""
        return "incomplete", f"{tokens} of {exchange.wanted} tokens and no end mark{amid}"
    if not full and answer.finish_reason not in ENDED_BY_MODEL:
        reason = f" (finish reason: {answer.finish_reason})" if answer.finish_reason else ""
        return "incomplete", f"{tokens} of {exchange.wanted} tokens{reason}"
    if exchange.fault is not None:
        return "ok", f"after the answer's end mark: {exchange.detail or exchange.fault}"
    return "ok", exchange.detail


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds, or as a date against the response's own Date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    try:
        if value.replace(".", "", 1).isascii() and value.replace(".", "", 1).isdigit():
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
