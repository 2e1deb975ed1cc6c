"""Server-sent events out of the reads of one answer, after the window is over.

The rules are the standard's (https://html.spec.whatwg.org/multipage/server-sent-events.html, "Interpreting an event
stream"): lines end with CRLF, LF or CR; one leading byte order mark is passed over, as are comments, `id`, `retry` and
unknown fields; the data lines of an event are joined by LF; an event is complete with the blank line behind it, and
one that the stream's end cut off is dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

__all__ = ["Events", "events", "exact_events"]

BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Events:
    """The events that have data, in order. `reads[k]` is the index of the read that completed event k, `data[k]` its
    bytes (UTF-8 as far as the server kept to it); `names` has the type of those events that were given one, by k.
    `unfinished`: the stream ended within an event, which is dropped.
    """

    reads: list[int] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    names: dict[int, bytes] = field(default_factory=dict)
    unfinished: bool = False


def events(pieces: Sequence[bytes]) -> Events:
    """The events of one stream, whose body came in `pieces`. Never raises, whatever the bytes."""
    return _plain_events(pieces) or exact_events(pieces)


def _plain_events(pieces: Sequence[bytes]) -> Events | None:
    """The same for a body of nothing but one-line events that end with LF LF, as nearly all servers send; else None."""
    body = b"".join(pieces)
    lead = b"data: " if body.startswith(b"data: ") else b"data:"
    if not body.startswith(lead) or not body.endswith(b"\n\n") or b"\r" in body:
        return None
    data = body[len(lead):-2].split(b"\n\n" + lead)
    if body.count(b"\n") != 2 * len(data):
        return None  # an event of several lines or of another form
    if lead == b"data:" and any(text.startswith(b" ") for text in data):
        return None
    frame = len(lead) + 2
    ends = list(accumulate([len(text) + frame for text in data]))
    received = list(accumulate(map(len, pieces)))
    if received == ends:
        return Events(list(range(len(data))), data)
    reads = []
    read = 0
    for end in ends:
        while received[read] < end:
            read += 1
        reads.append(read)
    return Events(reads, data)


def exact_events(pieces: Sequence[bytes]) -> Events:
    """What `events` gives, by the standard's rules line by line, whatever the form of the stream."""
    found = Events()
    rest, name = b"", b""
    data: list[bytes] = []
    begun = after_cr = False
    for read, piece in enumerate(pieces):
        # A CR ends its line at once; a LF right behind it, perhaps in a later read, belongs to it.
        if after_cr and piece:
            piece = piece.removeprefix(b"\n")
            after_cr = False
        rest += piece
        if not begun:
            if BOM.startswith(rest) and rest != BOM:
                continue
            rest = rest.removeprefix(BOM)
            begun = True
        if b"\r" in rest:
            after_cr = rest.endswith(b"\r")
            rest = rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" not in rest:
            continue
        *lines, rest = rest.split(b"\n")
        for line in lines:
            if not line:
                if data:
                    if name:
                        found.names[len(found.data)] = name
                    found.reads.append(read)
                    found.data.append(b"\n".join(data))
                data, name = [], b""
                continue
            key, _, value = line.partition(b":")
            if key == b"data":
                data.append(value.removeprefix(b" "))
            elif key == b"event":
                name = value.removeprefix(b" ")
    found.unfinished = bool(data) or (bool(rest) and not rest.startswith(b":"))
    return found
