"""A recorded trace of requests, replayed: when each came, and its lengths."""

import csv
import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quantcheck.errors import SpecError

__all__ = ["Trace", "read_trace"]

COLUMNS = {
    "time": ("timestamp", "time", "arrival_time", "arrived_at"),
    "input tokens": ("contexttokens", "input_tokens", "prompt_tokens", "context_tokens", "num_prefill_tokens"),
    "output tokens": ("generatedtokens", "output_tokens", "generated_tokens", "num_decode_tokens"),
}
"""Names that a column may have, in lower case: those of Azure's public traces, of Vidur's and plain ones."""

DATE = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?")
MOST = 2**31 - 1
MOST_NAMED = 20
MOST_S = Decimal(4 * 10**9)
CLOCK_NS = 9e18
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Trace:
    """n requests in the order of their arrival.

    `due_ns`: int64[n], ns after the first arrival, which is at 0. `prompt_tokens`, `output_tokens`: int32[n], at least
    1. `sha256`: of the file. `adjusted`: rows that said 0 tokens, which no server takes, and stand as 1.
    """

    due_ns: NDArray[np.int64]
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    sha256: str
    adjusted: int

    def __len__(self) -> int:
        return len(self.due_ns)


def read_trace(path: Path, time_scale: float = 1.0) -> Trace:
    """Reads a CSV file with a header line, `time_scale` times as fast as it was recorded.

    Columns are found by name in either case (`COLUMNS`), others are let be. Times are seconds, or dates as in
    `2023-11-16 18:17:03.9799600`; both are read exactly, to the ns. Rows are sorted by time, equal times stay in order.
    Raises `SpecError` for a file that cannot be read, a column that is missing, and a value that is none.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SpecError(f"trace {path}: cannot be read ({reason}); give a CSV file") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    times: list[int] = []
    lengths: list[tuple[int, int]] = []
    try:
        places = _places(path, next(reader, []))
        read_time: Callable[[str], int] | None = None
        for row in reader:
            if not row:
                continue
            if len(row) <= max(places):
                raise ValueError(f"{len(row)} values, and column {max(places) + 1} is needed")
            time, prompt, output = (row[place].strip() for place in places)
            if read_time is None:
                read_time = _date_ns if DATE.fullmatch(time) else _seconds_ns
            times.append(read_time(time))
            lengths.append((_tokens(prompt), _tokens(output)))
    except (ValueError, csv.Error) as error:
        raise SpecError(f"trace {path}, line {reader.line_num}: {error}; mend or leave out that line") from None
    if not times:
        raise SpecError(f"trace {path}: no line after the header; give a trace with requests")
    return _trace(path, times, np.array(lengths, np.int32), time_scale, hashlib.sha256(data).hexdigest())


def _trace(path: Path, times: list[int], lengths: NDArray[np.int32], time_scale: float, sha256: str) -> Trace:
    begin, end = min(times), max(times)
    if (end - begin) * max(1.0, 1 / time_scale) >= CLOCK_NS:
        raise SpecError(f"trace {path}: it takes longer than a clock can tell; mend its times or raise `time_scale:`")
    after = np.array([time - begin for time in times], np.int64)
    order = np.argsort(after, kind="stable")
    due = after[order] if time_scale == 1 else np.rint(after[order] / time_scale)
    whole = np.maximum(lengths, 1)[order]
    adjusted = int(np.count_nonzero((lengths < 1).any(axis=1)))
    return Trace(due.astype(np.int64), whole[:, 0].copy(), whole[:, 1].copy(), sha256, adjusted)


def _places(path: Path, header: list[str]) -> tuple[int, int, int]:
    found = [name.strip().lower() for name in header]
    places = []
    for what, names in COLUMNS.items():
        place = next((found.index(name) for name in names if name in found), None)
        if place is None:
            seen = ", ".join(name if name.isprintable() else repr(name) for name in header[:MOST_NAMED]) or "none"
            raise SpecError(f"trace {path}, line 1: no column of {what} among: {seen}; "
                            f"name it {', '.join(names[:-1])} or {names[-1]}")
        places.append(place)
    return places[0], places[1], places[2]


def _date_ns(text: str) -> int:
    """Integers all the way: a float of seconds since 1970 is good for 200 ns."""
    match = DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time like 2023-11-16 18:17:03.9799600")
    day, clock, fraction, zone = match.groups()
    at = datetime.fromisoformat(f"{day}T{clock}{zone or 'Z'}") - EPOCH
    return (at.days * 86_400 + at.seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))


def _seconds_ns(text: str) -> int:
    seconds = _decimal(text)
    # Not `abs`, which overflows where an exponent has many digits. Too much is milliseconds since 1970, for one.
    if seconds is None or seconds.copy_abs() > MOST_S:
        raise ValueError(f"{text!r} is not a time in seconds")
    return int((seconds * 10**9).to_integral_value())


def _tokens(text: str) -> int:
    value = _decimal(text)  # not int: pandas writes whole numbers as 374.0 when a column has a gap
    if value is None or not 0 <= value <= MOST or value != int(value):
        raise ValueError(f"{text!r} is not a number of tokens")
    return int(value)


def _decimal(text: str) -> Decimal | None:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None
