"""One answer out of its bytes, by dialect: chunks with tokens, what the server says of itself, and what went wrong."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import orjson

from quantcheck.engines.base import Dialect
from quantcheck.load.sse import events
from quantcheck.load.tokens import NOT_TOLD, Counted, Part, count_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Counted", "Stream", "read_stream"]

MOST = 2**31 - 1
MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)


@dataclass(slots=True)
class Stream:
    """One answer, read.

    `chunks`: (index of the read that completed it, tokens) of every chunk that carries at least one output token, be
    it answer, reasoning or a tool's arguments. `counted`: how they were counted. `streamed`: False for an answer of
    one JSON body, whose single chunk is stamped by the last read: it has no TTFT.
    """

    chunks: list[tuple[int, int]] = field(default_factory=list)
    counted: Counted = "one per chunk"
    total: int | None = None
    """The server's own total of output tokens, when it gives one."""
    prompt_tokens: int | None = None
    """The server's own count of the prompt's tokens."""
    cached_tokens: int | None = None
    """Tokens of the prompt that the server says it took from a cache."""
    reasoning_tokens: int = 0
    """Of the tokens in `chunks`, those of reasoning."""
    reasoning_total: int | None = None
    """The server's own count of reasoning tokens, sent or hidden."""
    finish_reason: str | None = None
    """`stop` or `length`, or another of the server's words; llama-server's stop types are put into these words."""
    done: bool = False
    """The end mark came: [DONE], llama-server's `stop: true`, or the end of a JSON body."""
    unfinished: bool = False
    """The body ended within an event, which is dropped."""
    streamed: bool = True
    error: str | None = None
    """The first damage; what came before and after it is kept."""
    error_kind: Literal["error_event", "garbage"] | None = None
    """Whether the server told of an error, or sent what cannot be read."""

    @property
    def tokens(self) -> int:
        """Output tokens counted in the chunks."""
        return sum([chunk[1] for chunk in self.chunks])

    @property
    def difference(self) -> int | None:
        """Tokens counted less the server's total; None when it gives none."""
        return None if self.total is None else self.tokens - self.total

    def fail(self, kind: Literal["error_event", "garbage"], message: str) -> None:
        """Notes damage, unless some was noted before."""
        if self.error is None:
            self.error, self.error_kind = _clean(message), kind


def _clean(text: str) -> str:
    """Text that can be stored: lone surrogates, which JSON can spell, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


_Step = Callable[[Stream, list[Part], int, dict[str, Any]], None]


def read_stream(dialect: Dialect, pieces: Sequence[bytes], tokenizer: "Tokenizer | None" = None) -> Stream:
    """Parses one answer whose body came in `pieces`. Damage is told in `error`, never raised.

    `tokenizer` counts the text of servers that tell nothing of their tokens (`tokens.retokenized`). A body that is one
    JSON object is an answer that was not streamed.
    """
    stream = Stream()
    parts: list[Part] = []
    step = _llama_event if dialect == "llama-server" else _choice_event
    if not _read_whole(stream, parts, step, pieces):
        _read_events(stream, parts, step, pieces)
    stream.counted, counts = count_tokens(
        parts, tokenizer, "server count" if dialect == "llama-server" else "running usage")
    stream.chunks = list(zip(compress(map(itemgetter(0), parts), counts), filter(None, counts), strict=True))
    stream.reasoning_tokens = sum(compress(counts, map(itemgetter(5), parts)))
    return stream


def _read_whole(stream: Stream, parts: list[Part], step: _Step, pieces: Sequence[bytes]) -> bool:
    """Whether the body is one JSON object; no stream that has events is."""
    if not (pieces and pieces[0][:1] in b"{ \t\r\n\xef"):  # spares streams the search below
        return False
    body = b"".join(pieces).removeprefix(b"\xef\xbb\xbf").strip()
    if not body.startswith(b"{"):
        return False
    try:
        answer = _loads(body)
    except (ValueError, RecursionError):
        return False
    last = max((read for read, piece in enumerate(pieces) if piece), default=0)
    stream.streamed, stream.done = False, True
    _take(stream, parts, step, last, body, answer)
    return True


def _read_events(stream: Stream, parts: list[Part], step: _Step, pieces: Sequence[bytes]) -> None:
    found = events(pieces)
    stream.unfinished = found.unfinished
    named_error = next((place for place, name in found.names.items() if name == b"error"), None)
    if named_error is not None:
        stream.fail("error_event", _excerpt(found.data[named_error], 200))
    loads = orjson.loads
    for read, data in zip(found.reads, found.data, strict=True):
        try:
            event = loads(data)
        except ValueError:
            if data.strip() == b"[DONE]":
                stream.done = True
                continue
            try:
                event = _loads(data)
            except (ValueError, RecursionError):
                stream.fail("garbage", f"an event is not JSON: {_excerpt(data, 60)!r}")
                continue
        _take(stream, parts, step, read, data, event)


def _loads(data: bytes) -> Any:
    """JSON as Python reads it, after orjson refused: NaN, lone surrogates, broken UTF-8 (which an event stream's reader
    must replace, by the standard)."""
    return json.loads(data.decode("utf-8", "replace"))


def _excerpt(data: bytes, characters: int) -> str:
    return data[:4 * characters].decode("utf-8", "replace")[:characters]


def _take(stream: Stream, parts: list[Part], step: _Step, read: int, data: bytes, event: Any) -> None:
    try:
        if "error" not in event or event["error"] is None:
            step(stream, parts, read, event)
        else:
            stream.fail("error_event", _told_error(event) or _excerpt(data, 200))
    except MALFORMED as error:
        told = f"is malformed ({error!r})" if event.__class__ is dict else "is not an object"
        stream.fail("garbage", f"an event {told}: {_excerpt(data, 60)!r}"[:300])


def _told_error(event: dict[str, Any]) -> str:
    error = event.get("error") or event
    message = error.get("message") if isinstance(error, dict) else error
    return message[:200] if isinstance(message, str) else ""


def _number(value: Any) -> int:
    if value.__class__ is not int or not 0 <= value <= MOST:
        raise TypeError("a count of tokens is not a whole number")
    return int(value)


def _text(value: Any) -> str:
    if not value:
        return ""
    if value.__class__ is not str:
        raise TypeError("text is not a string")
    return str(value)


def _length(value: Any) -> int:
    if value.__class__ is not list:
        raise TypeError("tokens are not a list")
    return len(value)


def _llama_event(stream: Stream, parts: list[Part], read: int, event: dict[str, Any]) -> None:
    """The server's running total is the only right count: the text of a token that ends in half a character is held
    back and travels, without its id, in the next event."""
    get = event.get
    text, ids, logprobs = get("content"), get("tokens"), get("completion_probabilities")
    total, prompt = get("tokens_predicted"), get("tokens_evaluated")
    if prompt is not None:
        stream.prompt_tokens = prompt if prompt.__class__ is int and 0 <= prompt <= MOST else _number(prompt)
    if total is not None:
        stream.total = total if total.__class__ is int and 0 <= total <= MOST else _number(total)
    if get("stop") is True:
        stream.done = True
        if (timings := get("timings")) and (cached := timings.get("cache_n")) is not None:
            stream.cached_tokens = _number(cached)
        kind = get("stop_type")
        if kind == "limit" or get("stopped_limit") is True:
            stream.finish_reason = "length"
        elif kind in ("eos", "word") or get("stopped_eos") is True or get("stopped_word") is True:
            stream.finish_reason = "stop"
    parts.append((
        read, text if text.__class__ is str else _text(text),
        NOT_TOLD if ids is None else len(ids) if ids.__class__ is list else _length(ids),
        NOT_TOLD if logprobs is None else _length(logprobs), NOT_TOLD if total is None else total, False,
    ))


def _choice_event(stream: Stream, parts: list[Part], read: int, event: dict[str, Any]) -> None:
    usage = event.get("usage")
    total = _usage(stream, usage) if usage else NOT_TOLD
    choices = event.get("choices")
    if not choices:
        if event.get("object") == "error":
            stream.fail("error_event", _told_error(event) or "an error without a message")
        return
    choice = choices[0]
    get = choice.get
    text, reasoning = get("text"), False
    if text is None:
        delta = get("delta") or get("message")
        if delta:
            text, reasoning = _delta(delta)
            if not text and "role" in delta and "delta" in choice:
                total = NOT_TOLD  # a role is no token: what the total has risen by comes with the next chunk
    ids, logprobs, reason = get("token_ids"), get("logprobs"), get("finish_reason")
    if reason:
        stream.finish_reason = _clean(_text(reason))
        if reason in ("abort", "error"):
            stream.fail("error_event", f"the server ended the answer with finish_reason {reason!r}")
    parts.append((
        read, text if text.__class__ is str else _text(text),
        NOT_TOLD if ids is None else len(ids) if ids.__class__ is list else _length(ids),
        _logprobs(logprobs) if logprobs else NOT_TOLD, total, reasoning,
    ))


def _usage(stream: Stream, usage: dict[str, Any]) -> int:
    get = usage.get
    prompt, total, details = get("prompt_tokens"), get("completion_tokens"), get("completion_tokens_details")
    if prompt is not None:
        stream.prompt_tokens = prompt if prompt.__class__ is int and 0 <= prompt <= MOST else _number(prompt)
    if details and (hidden := details.get("reasoning_tokens")) is not None:
        stream.reasoning_total = _number(hidden)
    if (told := get("prompt_tokens_details")) and (cached := told.get("cached_tokens")) is not None:
        stream.cached_tokens = _number(cached)
    if total is None:
        return NOT_TOLD
    stream.total = count = total if total.__class__ is int and 0 <= total <= MOST else _number(total)
    return count


def _logprobs(logprobs: dict[str, Any]) -> int:
    listed = logprobs.get("tokens")
    if listed is None:
        listed = logprobs.get("content")
    return NOT_TOLD if listed is None else _length(listed)


def _delta(delta: dict[str, Any]) -> tuple[str, bool]:
    """All output text of a chat's chunk (or whole message), and whether reasoning is part of it.

    Servers in between two names send the same reasoning under both.
    """
    get = delta.get
    text = _text(get("content"))
    if len(delta) == 1 and text:
        return text, False
    reasoning = _text(get("reasoning_content")) or _text(get("reasoning"))
    calls = get("tool_calls")
    if calls:
        text += "".join([_call(call.get("function")) for call in calls])
    if (call := get("function_call")) is not None:
        text += _call(call)
    if refusal := get("refusal"):
        text += _text(refusal)
    return reasoning + text, bool(reasoning)


def _call(function: dict[str, Any] | None) -> str:
    return _text(function.get("name")) + _text(function.get("arguments")) if function else ""
