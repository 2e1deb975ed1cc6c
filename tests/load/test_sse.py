"""Events are the same however the bytes were cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from quantcheck.load.sse import events

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
VALUES = st.binary(max_size=20).map(lambda raw: raw.replace(b"\r", b".").replace(b"\n", b"."))
NOISE = st.sampled_from([b": comment", b"event: x", b"id: 3", b"retry: 5", b"database: no", b"unknown"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A legal stream and the data of its events."""
    end, text, expected = draw(LINE_ENDS), b"", []
    for values in draw(st.lists(st.lists(VALUES, min_size=1, max_size=3), max_size=6)):
        for value in values:
            for line in draw(st.lists(NOISE, max_size=2)):
                text += line + end
            space = b" " if value.startswith(b" ") or draw(st.booleans()) else b""
            text += b"data:" + space + value + end
        text += end * draw(st.integers(1, 2))
        expected.append(b"\n".join(values))
    return text, expected


def cut(text: bytes, places: list[int]) -> list[tuple[int, bytes]]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [(stamp, text[a:b]) for stamp, (a, b) in enumerate(pairwise(edges))]


@given(streams(), st.lists(st.integers(0, 1000), max_size=30))
def test_any_fragmentation_gives_the_same_events(stream: tuple[bytes, list[bytes]], places: list[int]) -> None:
    text, expected = stream
    # A CR at the very end of a stream may be half of a CRLF: a line feed settles it.
    found = list(events([*cut(text, places), (10_000, b"\n")]))
    assert [data for _, data in found] == expected


def test_the_stamp_is_that_of_the_read_that_completes_the_event() -> None:
    reads = [(1, b"data: a"), (2, b"bc\n"), (3, b"\ndata: d\n\nda"), (4, b"ta: e\n\n"), (5, b"data: lost")]
    assert list(events(reads)) == [(3, b"abc"), (3, b"d"), (4, b"e")]


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_at_all_are_survived(pieces: list[bytes]) -> None:
    for _, data in events(enumerate(pieces)):
        assert isinstance(data, bytes)
