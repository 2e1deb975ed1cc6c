"""Reading the golden log (see `journal.py`): what the server did, and how late it was itself."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quantcheck.errors import EngineError

__all__ = ["Lateness", "Truth", "lateness", "read_log"]

LATE_S = 1e-3


@dataclass(frozen=True, slots=True)
class Truth:
    """One request. Arrays have one entry per event with tokens; times in ns of CLOCK_MONOTONIC.

    `due_ns`, `sent_ns`: int64[events]; `tokens`: int32[events]; `late_ns`: max(sent - due).
    """

    request: str
    kind: str
    prompt_tokens: int
    wanted: int
    fault: str | None
    read_ns: int
    arrived_ns: int
    due_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    tokens: NDArray[np.int32]
    end_ns: int
    client_left: bool
    late_ns: int


@dataclass(frozen=True, slots=True)
class Lateness:
    """sent - due over `chunks` events: median, 99th percentile and maximum in s, share later than 1 ms; NaN of none."""

    chunks: int
    p50_s: float
    p99_s: float
    max_s: float
    share: float


def read_log(path: Path) -> list[Truth]:
    """All requests in the order in which they ended; a last line that was cut short by a kill is left out.

    Raises `EngineError` when the file cannot be read or is not such a log.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
        return [_truth(line) for line in lines]
    except OSError as error:
        raise EngineError(f"{path}: the fake engine's log cannot be read ({error.strerror}); was it given `log`?"
                          ) from error
    except (KeyError, ValueError, TypeError) as error:
        raise EngineError(f"{path}: is not a log of the fake engine ({error!r}); give the file that it wrote"
                          ) from error


def _truth(line: bytes) -> Truth:
    fields = json.loads(line)
    for name, kind in (("due_ns", np.int64), ("sent_ns", np.int64), ("tokens", np.int32)):
        fields[name] = np.array(fields[name], dtype=kind)
    return Truth(**fields)


def lateness(truths: Iterable[Truth]) -> Lateness:
    """How late the server was itself."""
    late = [(truth.sent_ns - truth.due_ns) / 1e9 for truth in truths]
    all_s = np.concatenate(late) if late else np.empty(0)
    if not all_s.size:
        return Lateness(0, *[float("nan")] * 4)
    p50, p99 = np.quantile(all_s, (0.5, 0.99))
    return Lateness(all_s.size, float(p50), float(p99), float(all_s.max()), float(np.mean(all_s > LATE_S)))
