"""The bytes of a stream, HTTP framing included: built once per shape of request and kept.

What the same kind of request with the same options gets differs from one to the next in little: the number of prompt
tokens. Where events carry it, it has a fixed width (JSON allows blanks before a number), so that it can be put
into kept frames without changing their lengths.
"""

from collections.abc import Sequence
from typing import NamedTuple

from quantcheck.engines.fake import dialect
from quantcheck.engines.fake.script import Script

__all__ = ["END", "Chunks", "Frames", "http_chunk"]

END = b"0\r\n\r\n"
KEPT = 512
WIDTH = len(dialect.PROMPT_MARK)


class Chunks(NamedTuple):
    """Packets with tokens, in order: `data`, the tokens of each event in it, ns from the request to when it is due."""

    data: Sequence[bytes]
    counts: Sequence[tuple[int, ...]]
    offsets_ns: Sequence[int]


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Frames:
    """Makes the bytes of streams as one script wants them."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._blank = b"\r\n\r\n" if script.eol == "crlf" else b"\n\n"
        self._comment = b": ping" + self._blank if script.comments else b""
        close = b"Connection: close\r\n" if script.says_close else b""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n%b\r\n%b"
        first = http_chunk(self._comment) if script.comments else b""
        self._heads = {False: head % (b"", first), True: head % (close, first)}
        self._kept: dict[tuple[object, ...], Chunks] = {}

    def head(self, close: bool) -> bytes:
        """The response's head, and a comment if the script wants comments."""
        return self._heads[close]

    def sse(self, data: bytes) -> bytes:
        """One event as an HTTP chunk."""
        return http_chunk(b"%bdata: %b%b" % (self._comment, data, self._blank))

    def role(self, request: dialect.Request) -> bytes:
        """What comes before the first token: empty for all but chats."""
        event = dialect.first_event(self._script, request)
        return b"" if event is None else self.sse(event)

    def tail(self, request: dialect.Request, tokens: int) -> bytes:
        """What ends a stream of `tokens` tokens cleanly."""
        return b"".join(map(self.sse, dialect.last_events(self._script, request, tokens))) + END

    def chunks(self, request: dialect.Request, tokens: int) -> Chunks:
        """The packets that carry the first `tokens` tokens."""
        # `usage` in every event holds sums with the prompt's length: then only like prompts share frames.
        prompt = request.prompt_tokens if self._script.usage == "every" and request.kind != "llama" else -1
        key = (request.kind, request.ids, request.answer, tokens, prompt)
        chunks = self._kept.get(key)
        if chunks is None:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            chunks = self._kept[key] = self._build(request, tokens)
        if request.kind != "llama":
            return chunks
        number = b"%*d" % (WIDTH, request.prompt_tokens)
        return chunks._replace(data=[data.replace(dialect.PROMPT_MARK, number) for data in chunks.data])

    def _build(self, request: dialect.Request, tokens: int) -> Chunks:
        sizes = self._script.chunk_tokens(tokens)
        offsets, events, start = self._script.offsets_ns(sizes), [], 0
        for size in sizes:
            events.append(self.sse(dialect.event(self._script, request, start, start + size)))
            start += size
        step = self._script.coalesce
        packets = [slice(place, place + step) for place in range(0, len(sizes), step)]
        return Chunks(
            [b"".join(events[packet]) for packet in packets],
            [tuple(sizes[packet]) for packet in packets],
            [offsets[packet][-1] for packet in packets],
        )
