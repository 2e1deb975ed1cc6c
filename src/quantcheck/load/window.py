"""The window of a load: when it begins and ends, which requests are its own, and whether it was steady.

**Closed loop.** It begins when the last stream has sent its first measured request and ends with the last token of the
last measured request. In between every stream is busy: warm-up requests run up to it, and streams that find no
measured request left go on with further ones ("tail") until the last measured one is done. Ramp and drain are so
outside by construction. With engines that answer all streams in step, begin and end fall into the same phase of a step,
so that no step is counted twice or lost.

**Open loop.** From the intended send time of the first measured request to that of the last: the time in which the
load was offered. The drain is outside.

In both a part at the beginning is cut off as warm-up where MSER-5 finds one (`steady`): over latencies in the order of
their ends in a closed loop, over latencies from the intended send time in that order in an open loop. A request whose
deadline passed counts there with the time that it waited, other failures do not count. A closed loop's window then
begins with the last token of the last request that was cut, an open loop's with the intended send time of the first
that was kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from quantcheck.load.columns import BoolArray, Columns
from quantcheck.load.steady import Steadiness, judge_steadiness

__all__ = ["CLOSED", "OPEN", "Window", "find_window"]

CLOSED = "all streams busy: from the last stream's first measured request to the last measured token"
OPEN = "offered load: from the intended send time of the first measured request to that of the last"


@dataclass(frozen=True, slots=True)
class Window:
    """Begin and end in CLOCK_MONOTONIC ns (equal: there is no window); `own`, bool[n]: its requests, measured ones but
    for the `cut` that MSER-5 took for warm-up, failures among them included."""

    method: str
    begin_ns: int
    end_ns: int
    own: BoolArray
    cut: int
    steadiness: Steadiness

    @property
    def length_s(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9

    def as_json(self) -> dict[str, Any]:
        """The `window` of a result."""
        steadiness = self.steadiness
        return {
            "method": self.method, "begin_ns": self.begin_ns, "end_ns": self.end_ns, "length_s": self.length_s,
            "requests": int(self.own.sum()), "cut_as_warm": self.cut, "steady": steadiness.steady,
            "reason": steadiness.reason,
        }


def find_window(load: Columns) -> Window:
    """The window of `load`; empty (0, 0) when no measured request was sent."""
    own = load.measured.copy()
    if not own.any():
        return Window(CLOSED, 0, 0, own, 0, Steadiness(None, 0, "no measured request was sent"))
    return _open(load, own) if load.open_loop else _closed(load, own)


def _closed(load: Columns, own: BoolArray) -> Window:
    streams, at = np.unique(load.stream[own], return_inverse=True)
    first_sent = np.full(len(streams), np.iinfo(np.int64).max)
    np.minimum.at(first_sent, at, load.sent[own])
    begin = int(first_sent.max())
    end = max(begin, int(load.end[own].max()))
    rows = np.flatnonzero(own & (load.ok | load.waited_out))
    rows = rows[np.argsort(load.left[rows], kind="stable")]
    steadiness = judge_steadiness((load.left - load.sent)[rows] / 1e9)
    kept = own
    if steadiness.cut:
        warm_until = int(load.left[rows[steadiness.cut - 1]])
        begin = min(max(begin, warm_until), end)
        kept = own & (load.left > warm_until)
    return Window(CLOSED, begin, end, kept, int(own.sum() - kept.sum()), steadiness)


def _open(load: Columns, own: BoolArray) -> Window:
    end = int(load.due[own].max())
    rows = np.flatnonzero(own & (load.ok | load.waited_out))
    rows = rows[np.argsort(load.due[rows], kind="stable")]
    steadiness = judge_steadiness((load.left - load.due)[rows] / 1e9)
    kept = own & (load.due >= load.due[rows[steadiness.cut]]) if steadiness.cut else own
    return Window(OPEN, int(load.due[kept].min()), end, kept, int(own.sum() - kept.sum()), steadiness)
