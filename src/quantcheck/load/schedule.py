"""The schedule of one window: what is sent, in which order and when; made beforehand, the same for every variant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quantcheck.load.handover import MEASURED, TAIL, WARMUP

__all__ = ["MEASURED", "PHASES", "TAIL", "WARMUP", "Phase", "Schedule"]

Phase = Literal["warmup", "measured", "tail"]
PHASES: tuple[Phase, ...] = ("warmup", "measured", "tail")


@dataclass(frozen=True, slots=True)
class Schedule:
    """n requests; row i of every field is request i, sent in this order.

    `due_ns`: int64[n], intended send time after the start of the load, ascending (open loop); None: closed loop.
    `stream`: int32[n], the stream that a closed loop's warm-up request belongs to; -1: whichever is free.
    `phase`: int8[n], index into PHASES. `prompt_tokens`: int32[n], 0: not known (text). `output_tokens`: int32[n],
    what is asked for. `forced`: whether answers must have exactly that length (else it is the most).
    `bodies`: the n HTTP request bodies. `sha256`: hash over the measured prompts in order.
    """

    phase: NDArray[np.int8]
    due_ns: NDArray[np.int64] | None
    stream: NDArray[np.int32]
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    forced: bool
    bodies: Sequence[bytes]
    sha256: str

    def __len__(self) -> int:
        return len(self.bodies)
