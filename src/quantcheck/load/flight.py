"""One request in flight: what the hot path keeps of it, and when its HTTP response is whole.

The hot path appends a read's bytes, its stamp and what the kernel said of it, and looks at the last four bytes. Every
HTTP/1.1 response in chunks ends with an empty line (RFC 9112, section 7.1), so only a read that ends in one, or is too
short to tell, is worth parsing; httptools then reads all that has come in since it last looked.
"""

import re
from contextlib import suppress
from typing import Literal

import httptools

__all__ = ["EMPTY_LINE", "FAULTS", "Fault", "Flight", "Read", "ResponseEnd", "is_interim"]

Fault = Literal["refused", "reset", "cut", "no_first_byte", "stalled", "cancelled"]
"""What the wire saw. refused: no connection came about. reset: the peer reset it. cut: it ended before the HTTP
response was whole. no_first_byte: the deadline passed before any byte of the body. stalled: it passed amid the body.
cancelled: the run was ended."""
Read = tuple[bytes, int, list[tuple[int, int, bytes]]]
"""A read's bytes, its stamp (read off after the system call), and its ancillary data with the kernel's stamp."""
FAULTS: tuple[Fault, ...] = ("refused", "reset", "cut", "no_first_byte", "stalled", "cancelled")
EMPTY_LINE = b"\r\n\r\n"
HEAD_READS = 4
"""No server needs more reads than this for a response's head."""

INTERIM_HEAD = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d")


def is_interim(status: int) -> bool:
    """Whether another head follows (RFC 9110, section 15.2): all of 1xx but a change of protocols."""
    return 100 <= status < 200 and status != 101


class ResponseEnd:
    """Reads a response's framing to know when it is whole; its content is read after the window."""

    __slots__ = ("_fed", "_parser", "chunked", "headers_whole", "keep_alive", "sized", "whole")

    def __init__(self) -> None:
        self.whole = self.headers_whole = self.chunked = self.sized = False
        self.keep_alive = True
        self._fed = 0
        self._parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"transfer-encoding":
            self.chunked = b"chunked" in value.lower()
        elif lower == b"content-length":
            self.sized = True

    def on_headers_complete(self) -> None:
        self.headers_whole = True

    def on_message_complete(self) -> None:
        if is_interim(self._parser.get_status_code()):
            self.headers_whole = self.chunked = self.sized = False
            return
        self.whole = True
        self.keep_alive = self._parser.should_keep_alive()

    def feed(self, reads: list[Read]) -> bool:
        """Reads on; whether the response is whole. Raises `httptools.HttpParserError` for what is not HTTP."""
        news = [data for data, _, _ in reads[self._fed :]]
        self._fed = len(reads)
        self._parser.feed_data(b"".join(news))
        return self.whole

    @property
    def whole_when_closed(self) -> bool:
        """Whether the connection's end makes the response whole: it has neither length nor chunks."""
        return self.whole or (self.headers_whole and not self.sized and not self.chunked)


class Flight:
    """Everything that the loop notes of one request. Times: CLOCK_MONOTONIC in ns. `keep` appends to `reads`."""

    __slots__ = ("chunked", "connected_ns", "detail", "end", "end_ns", "fault", "keep", "phase", "reads", "request",
                 "sent_ns", "stream")

    def __init__(self, request: int, stream: int, phase: int) -> None:
        self.request = request
        self.stream = stream
        self.phase = phase
        self.connected_ns = self.sent_ns = self.end_ns = 0
        self.reads: list[Read] = []
        self.keep = self.reads.append
        self.end = ResponseEnd()
        self.chunked = False
        self.fault: Fault | None = None
        self.detail = ""

    def look(self) -> bool:
        """Whether the response is whole; raises `httptools.HttpParserError` for what is not HTTP."""
        whole = self.end.feed(self.reads)
        self.chunked = self.end.chunked
        return whole

    def whole_when_closed(self) -> bool:
        """Whether the response is whole now that the connection has ended."""
        with suppress(httptools.HttpParserError):
            self.look()
        return self.end.whole_when_closed

    def has_body(self) -> bool:
        """Whether anything came after the response's head; interim heads are none."""
        if len(self.reads) > HEAD_READS:
            return True
        head, blank, rest = b"".join([data for data, _, _ in self.reads]).partition(EMPTY_LINE)
        while blank and INTERIM_HEAD.match(head):
            head, blank, rest = rest.partition(EMPTY_LINE)
        return bool(head and blank and rest)
