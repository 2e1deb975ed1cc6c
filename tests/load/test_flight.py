"""When a response is whole, told from its framing alone; http.client is the other opinion."""

import http.client
import io
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.load.flight import Flight, Read, ResponseEnd, is_interim

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODIES = st.lists(st.one_of(
    st.binary(min_size=1, max_size=40),
    st.sampled_from([b"0\r\n\r\n", b"\r\n", b"\r\n\r\n", b"data: 1\n\n", b"data: 1\r\n\r\n",
                     b"HTTP/1.1 200 OK\r\n\r\n"]),
), max_size=8)


def flight_of(reads: list[bytes]) -> Flight:
    flight = Flight(0, 0, 1)
    for number, data in enumerate(reads):
        flight.keep((data, number, []))
    return flight


class _File(io.BytesIO):
    def makefile(self, *_: Any) -> "_File":
        return self


def by_library(response: bytes) -> bytes:
    """The body by http.client, which reads all of `response` and not one byte more."""
    file = _File(response)
    file.close = lambda: None  # type: ignore[method-assign]
    found = http.client.HTTPResponse(file)  # type: ignore[arg-type]
    found.begin()
    body = found.read()
    assert file.read() == b""
    return body


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A whole response: chunks of any size, or a length; with trailers, extensions, interim responses."""
    parts = draw(BODIES)
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    if not draw(st.booleans()):
        body = b"".join(parts)
        return interim + b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    extension = draw(st.sampled_from([b"", b";a=b"]))
    trailer = draw(st.sampled_from([b"", b"X-Trailer: 1\r\n", b"A: 1\r\nB: 2\r\n"]))
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    return interim + CHUNKED + chunks + b"0\r\n" + trailer + b"\r\n"


@st.composite
def cut(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    places = sorted(draw(st.sets(st.integers(1, max(1, len(whole) - 1)), max_size=12)))
    return [piece for a, b in zip([0, *places], [*places, len(whole)], strict=True) if (piece := whole[a:b])]


@given(st.data())
def test_whole_with_the_last_byte_and_not_before(data: st.DataObject) -> None:
    response = data.draw(responses())
    by_library(response)
    end = ResponseEnd()
    reads: list[Read] = []
    pieces = data.draw(cut(response))
    for number, piece in enumerate(pieces):
        reads.append((piece, number, []))
        assert end.feed(reads) is (number == len(pieces) - 1)
        assert end.feed(reads) is end.whole  # looking again changes nothing
    assert end.keep_alive


@given(st.data())
def test_looking_only_where_a_response_may_end_is_enough(data: st.DataObject) -> None:
    """The hot path's rule: a read of four bytes or more that ends a response in chunks ends in an empty line."""
    body = data.draw(BODIES)
    response = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in body if part) + b"0\r\n\r\n"
    pieces = data.draw(cut(response))
    assert pieces[-1].endswith(b"\r\n\r\n") or len(pieces[-1]) < 4


@pytest.mark.parametrize(
    ("response", "keeps"),
    [(CHUNKED + b"0\r\n\r\n", True), (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False),
     (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
     (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", True),
     (b"HTTP/1.1 204 No Content\r\n\r\n", True)],
)
def test_whether_the_connection_is_kept(response: bytes, keeps: bool) -> None:
    end = ResponseEnd()
    assert end.feed([(response, 0, [])])
    assert end.keep_alive is keeps


@pytest.mark.parametrize(
    ("reads", "whole"),
    [([b"HTTP/1.1 200 OK\r\n\r\n", b"hello"], True), ([b"HTTP/1.1 200 OK\r\n\r\n"], True),
     ([b"HTTP/1.1 200 OK\r\n"], False), ([], False), ([b"hello"], False),
     ([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"], False),
     ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"], True), ([CHUNKED, b"2\r\nab\r\n"], False),
     ([b"HTTP/1.1 103 Early Hints\r\n\r\n"], False),
     ([b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nhi"], True)],
)
def test_what_the_connections_end_makes_of_it(reads: list[bytes], whole: bool) -> None:
    assert flight_of(reads).whole_when_closed() is whole


@pytest.mark.parametrize("data", [b"hello\r\n\r\n", b"\x16\x03\x01\x02", b"HTTP/9 what\r\n\r\n", CHUNKED + b"xyz\r\n"])
def test_what_is_not_http(data: bytes) -> None:
    with pytest.raises(httptools.HttpParserError):
        flight_of([data]).look()


@pytest.mark.parametrize(
    ("reads", "body"),
    [([], False), ([CHUNKED[:20]], False), ([CHUNKED], False), ([CHUNKED[:-2], b"\r", b"\n"], False),
     ([CHUNKED, b"5"], True), ([CHUNKED + b"5\r\nhello\r\n"], True), ([b"HTTP/1.1 103 Early Hints\r\n\r\n"], False),
     ([b"HTTP/1.1 103 Early Hints\r\n\r\n" + CHUNKED], False),
     ([b"HTTP/1.1 103 Early Hints\r\n\r\n" + CHUNKED + b"1"], True), ([b"x"] * 1000, True)],
)
def test_whether_a_body_has_begun(reads: list[bytes], body: bool) -> None:
    assert flight_of(reads).has_body() is body


def test_interim_responses() -> None:
    assert [status for status in (100, 101, 102, 103, 199, 200, 99) if is_interim(status)] == [100, 102, 103, 199]
