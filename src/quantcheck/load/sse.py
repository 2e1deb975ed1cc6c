"""Server-sent events out of stamped reads, after the window is over."""

from collections.abc import Iterable, Iterator

__all__ = ["events"]


def events(reads: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """(stamp, data) of each event that has data; the stamp is that of the read that completed the event.

    Lines end with LF, CRLF or CR; comments and fields other than `data` are passed over; several data lines are joined
    by LF (https://html.spec.whatwg.org/multipage/server-sent-events.html). An event that the stream's end
    cut off is dropped, as the standard says.
    """
    rest = b""
    data: list[bytes] = []
    for stamp, piece in reads:
        rest += piece
        # A CR at the very end may be half of a CRLF: it waits for the next read.
        held = rest[-1:] if rest.endswith(b"\r") else b""
        lines = (rest[:-1] if held else rest).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = lines.pop() + held
        for line in lines:
            if not line:
                if data:
                    yield stamp, b"\n".join(data)
                data = []
            elif line.startswith(b"data"):
                name, _, value = line.partition(b":")
                if name == b"data":
                    data.append(value.removeprefix(b" "))
