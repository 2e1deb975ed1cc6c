"""Events are the same however the bytes were cut, and are those that the standard's own steps give."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantcheck.load.sse import Events, events, exact_events

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12).map(str.encode),
    st.sampled_from([b"[DONE]", b'{"a": "\xe2\x82\xac"}', b"", b" ", b":"]),
)
NOISE = st.sampled_from([b": comment", b":", b"id: 3", b"retry: 5", b"database: no", b"unknown", b"data2:x"])
BOM = b"\xef\xbb\xbf"


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A legal stream and the (name, data) of its events. Line ends are mixed, since they may be."""
    text = BOM if draw(st.booleans()) else b""
    expected = []
    for values in draw(st.lists(st.lists(VALUES, min_size=1, max_size=3), max_size=6)):
        name = draw(st.sampled_from([b"", b"error", b"delta"]))
        lines = [b"event: " + name] if name else []
        for value in values:
            lines += draw(st.lists(NOISE, max_size=2))
            # A value with a space of its own needs the one that is taken off.
            space = b" " if value.startswith(b" ") or draw(st.booleans()) else b""
            bare = not value and not space and draw(st.booleans())
            lines.append(b"data" if bare else b"data:" + space + value)
        end = draw(LINE_ENDS)
        text += b"".join(line + end for line in lines) + end * draw(st.integers(1, 3))
        expected.append((name, b"\n".join(values)))
    return text, expected


def cut(text: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in pairwise(ends)]


def named(found: Events) -> list[tuple[bytes, bytes]]:
    return [(found.names.get(k, b""), data) for k, data in enumerate(found.data)]


def by_the_standard(pieces: list[bytes]) -> Events:
    """One byte at a time, as the standard words it; slow and plain."""
    found = Events()
    owner = [k for k, piece in enumerate(pieces) for _ in piece]
    body = b"".join(pieces)
    place = len(BOM) if body.startswith(BOM) else 0
    line, data, name, seen = bytearray(), bytearray(), b"", False
    while place < len(body):
        byte, at = body[place], owner[place]
        place += 1
        if byte not in b"\r\n":
            line.append(byte)
            continue
        if byte == 13 and body[place:place + 1] == b"\n":
            place += 1
        if not line:
            if seen:
                if name:
                    found.names[len(found.data)] = name
                found.data.append(bytes(data[:-1]))
                found.reads.append(at)
            data, name, seen = bytearray(), b"", False
            continue
        field, colon, value = bytes(line).partition(b":")
        if colon and value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            data += value + b"\n"
            seen = True
        elif field == b"event":
            name = value
        line.clear()
    found.unfinished = seen or (bool(line) and line[0] != ord(":"))
    return found


@given(streams(), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_legal_stream_in_any_fragments(stream: tuple[bytes, list[tuple[bytes, bytes]]], places: list[int]) -> None:
    text, expected = stream
    pieces = cut(text, places)
    found = events(pieces)
    assert named(found) == expected
    assert not found.unfinished
    assert found == by_the_standard(pieces)


@given(st.sampled_from([b"data: ", b"data:"]), st.lists(VALUES, min_size=1, max_size=8),
       st.lists(st.integers(0, 10_000), max_size=8))
def test_the_short_way_gives_what_the_exact_one_does(lead: bytes, values: list[bytes], places: list[int]) -> None:
    pieces = cut(b"".join(lead + value + b"\n\n" for value in values), places)
    assert events(pieces) == exact_events(pieces) == by_the_standard(pieces)


SCRAPS = st.sampled_from([b"data: ", b"data:", b"\n\n", b"\n", b"\r", b"a", b":", b"event: e\n", BOM, b" ", b"\xef"])


@given(st.lists(st.lists(SCRAPS, max_size=6).map(b"".join), max_size=8))
@example([b"data: a\r", b"", b"\n", b"\r\n"])
@example([b"\xef", b"\xbb\xbfdata: a\n\n"])
@example([b"data: a\n", b"\n\n\n"])
def test_scraps_of_events_too(pieces: list[bytes]) -> None:
    assert events(pieces) == exact_events(pieces) == by_the_standard(pieces)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_at_all_are_survived(pieces: list[bytes]) -> None:
    found = events(pieces)
    assert len(found.reads) == len(found.data)
    assert sorted(found.reads) == found.reads
    assert found == by_the_standard(pieces)


def test_an_event_belongs_to_the_read_that_completes_it() -> None:
    found = events([b"data: a", b"bc\n", b"\ndata: d\n\nda", b"ta: e\n\n", b"data: lost"])
    assert list(zip(found.reads, found.data, strict=True)) == [(2, b"abc"), (2, b"d"), (3, b"e")]
    assert found.unfinished
    plain = events([b"data: a", b"bc\n", b"\ndata: d\n\nda", b"", b"ta: e\n\n"])
    assert (plain.reads, plain.data, plain.unfinished) == ([2, 2, 4], [b"abc", b"d", b"e"], False)


def test_a_carriage_return_ends_its_line_at_once() -> None:
    found = events([b"data: a\r\n\r", b"\ndata: b\r\r"])
    assert (found.reads, found.data) == ([0, 1], [b"a", b"b"])


@pytest.mark.parametrize(("tail", "flagged"), [
    (b"", False), (b"data: x", True), (b"data: x\n", True), (b": ping", False), (b"da", True), (b"\n", False),
])
def test_an_event_cut_off_by_the_end_is_dropped_and_told(tail: bytes, flagged: bool) -> None:
    found = events([b"data: a\n\n", tail])
    assert (found.data, found.unfinished) == ([b"a"], flagged)
