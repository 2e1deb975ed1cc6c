"""From a request to everything that will be sent for it: bytes, due times, and what happens at the end."""

from dataclasses import dataclass
from typing import Literal

from quantcheck.engines.fake import dialect
from quantcheck.engines.fake.faults import ANY_REQUEST, STATUS
from quantcheck.engines.fake.frames import END, Frames, http_chunk
from quantcheck.engines.fake.script import Script

__all__ = ["Plan", "Then", "body_reply", "effective", "plan"]

Then = Literal["next", "close", "reset", "hold", "die"]
"""After the last step: go on with the connection, close it, reset it, leave it open and silent, end the server."""

HALF_WAY: dict[str, Then] = {"cut": "close", "reset": "reset", "stall": "hold", "die-after": "die"}
NOT_HTTP = b"\x16\x03\x01\x02quantcheck fake engine: this is not HTTP\r\n\r\n"


@dataclass(slots=True)
class Plan:
    """Steps in order: `due_ns[k]` is when `data[k]` is sent, `counts[k]` the tokens of each event in it."""

    due_ns: list[int]
    data: list[bytes]
    counts: list[tuple[int, ...]]
    then: Then = "next"


def body_reply(body: bytes, status: str = "200 OK", *, extra: str = "", kind: str = "application/json",
               close: bool = False, says_close: bool = True) -> bytes:
    """A whole response with a Content-Length."""
    if close and says_close:
        extra += "Connection: close\r\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def effective(fault: str | None, request: dialect.Request) -> str | None:
    """`fault`, unless there is nothing of this request that it could strike."""
    if fault is None or fault in ANY_REQUEST or (request.stream and request.tokens > 0):
        return fault
    return None


def plan(script: Script, frames: Frames, request: dialect.Request, fault: str | None, begin_ns: int,
         close: bool) -> Plan:
    """What `request` gets when it begins at `begin_ns` (CLOCK_MONOTONIC) and `fault` strikes it."""
    if fault == "slow":
        begin_ns += round(1e9 * script.slow_s)
    then: Then = "close" if close else "next"
    if fault == "hang":
        return Plan([], [], [], "hold")
    if fault == "garbage-http":
        return Plan([begin_ns], [NOT_HTTP], [()], "close")
    if fault in STATUS or fault == "empty-body":
        if fault == "empty-body":
            kind = "text/event-stream" if request.stream else "application/json"
            data = body_reply(b"", kind=kind, close=close, says_close=script.says_close)
        else:
            extra = "Retry-After: 1\r\n" if fault in ("status-429", "status-503") else ""
            data = body_reply(b'{"error": {"message": "scripted"}}', STATUS[fault], extra=extra, close=close,
                              says_close=script.says_close)
        return Plan([begin_ns], [data], [()], then)
    if not request.stream:
        offsets = script.offsets_ns(script.chunk_tokens(request.tokens))
        data = body_reply(dialect.whole(script, request), close=close, says_close=script.says_close)
        return Plan([begin_ns + (offsets[-1] if offsets else 0)], [data], [(request.tokens,)], then)
    return _stream(script, frames, request, fault, begin_ns, close)


def _stream(script: Script, frames: Frames, request: dialect.Request, fault: str | None, begin_ns: int,
            close: bool) -> Plan:
    tokens = {"empty": 0, "short": request.tokens // 2}.get(fault or "", request.tokens)
    chunks = frames.chunks(request, tokens)
    due = [begin_ns + offset for offset in chunks.offsets_ns]
    data, counts = list(chunks.data), list(chunks.counts)
    then: Then = "close" if close else "next"
    half = len(data) // 2
    if fault in HALF_WAY or fault == "error-event":
        # At the time of the chunk that it takes the place of.
        last = frames.sse(dialect.ERROR_EVENT) + END if fault == "error-event" else b""
        due[half + 1 :], data[half:], counts[half:] = [], [last], [()]
        then = HALF_WAY.get(fault or "", then)
    else:
        if fault == "garbage":
            data[half] = http_chunk(b"data: " + dialect.GARBAGE + b"\n\n") + data[half]
        due.append(due[-1] if due else begin_ns)
        data.append(END if fault == "no-done" else frames.tail(request, tokens))
        counts.append(())
    role = frames.role(request)
    if role and script.role_s:
        due.insert(0, max(begin_ns, due[0] - round(1e9 * script.role_s)))
        data.insert(0, role)
        counts.insert(0, ())
    elif role:
        data[0] = role + data[0]
    due.insert(0, begin_ns)
    data.insert(0, frames.head(close))
    counts.insert(0, ())
    return Plan(due, data, counts, then)
