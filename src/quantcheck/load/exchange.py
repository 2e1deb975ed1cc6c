"""One request as the wire leaves it: stamps and bytes, HTTP framing removed, nothing of the answer parsed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantcheck.load.flight import Fault
from quantcheck.load.schedule import Phase

__all__ = ["Exchange", "Fault"]


@dataclass(slots=True)
class Exchange:
    """One request and what came back.

    `request`: its index in the schedule. `prompt_tokens`: 0 when not known. `wanted`: output tokens asked for, which
    the answer must have when `forced`, else may have at most. `due_ns`: the intended send time; None in a closed loop.
    `sent_ns`: just before the request was written. All times are CLOCK_MONOTONIC in ns. `status`: of HTTP; None when no
    response head came. `headers`: names in lower case. `fault`: None when the HTTP response is whole; whether the
    *answer* is whole is for `records` to judge.

    `pieces[i]` holds the body bytes of read i, received at `user_ns[i]` by this process and at `kernel_ns[i]` by the
    kernel (0: no such stamp); both are int64[reads].
    """

    request: int
    stream: int
    phase: Phase
    prompt_tokens: int
    wanted: int
    forced: bool
    due_ns: int | None
    sent_ns: int
    end_ns: int
    status: int | None
    headers: dict[str, str]
    fault: Fault | None
    detail: str
    pieces: list[bytes]
    user_ns: NDArray[np.int64]
    kernel_ns: NDArray[np.int64]
