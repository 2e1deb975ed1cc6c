"""HTTP/1.1 requests out of bytes, by httptools (llhttp)."""

from dataclasses import dataclass

import httptools

__all__ = ["BadRequest", "HttpRequest", "RequestReader"]


class BadRequest(Exception):
    """What came is not HTTP/1.1."""


@dataclass(slots=True)
class HttpRequest:
    """`path` without its query; `id`: the X-Request-Id header; `keep`: whether the client keeps the connection."""

    method: str
    path: str
    id: str | None
    body: bytes
    keep: bool


class RequestReader:
    """Takes one connection's bytes; `continues` is set when a client waits to be told to send its body."""

    def __init__(self) -> None:
        self._found: list[HttpRequest] = []
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self.continues = False

    def feed(self, data: bytes) -> list[HttpRequest]:
        """The requests that `data` completes; raises `BadRequest`."""
        if self._parser is None:
            return []
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise BadRequest(str(error)) from error
        found, self._found = self._found, []
        return found

    def close(self) -> None:
        """Breaks the cycle of references with the parser: collection is off while the server is busy."""
        self._parser = None

    # What the parser calls.
    def on_message_begin(self) -> None:
        self._url, self._id, self._expects = b"", None, False
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 12 and name.lower() == b"x-request-id":
            self._id = value.decode("latin-1")
        elif len(name) == 6 and name.lower() == b"expect":
            self._expects = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        self.continues = self._expects

    def on_body(self, body: bytes) -> None:
        self.continues = False  # it did not wait
        self._body.append(body)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        self.continues = False
        self._found.append(HttpRequest(
            self._parser.get_method().decode("latin-1"), self._url.partition(b"?")[0].decode("latin-1"), self._id,
            b"".join(self._body), self._parser.should_keep_alive(),
        ))

    _url: bytes
    _id: str | None
    _expects: bool
