"""The records of a load as columns: one row per request, one per chunk, in ns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantcheck.load.records import Record
from quantcheck.load.tokens import EXACT

__all__ = ["NONE", "BoolArray", "Columns", "FloatArray", "IntArray", "columns"]

NONE = -1
"""A time that there is not: no token came, or the loop is closed."""

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Columns:
    """n requests of all phases with c chunks. Times are CLOCK_MONOTONIC in ns, int64, `NONE` where there is none.

    `end`: the last token, or the end of the exchange where no token came. `left`: when the request was in flight no
    longer, with its last token when it ended well, else with the exchange. `waited_out`: its deadline passed.
    `useful`: its tokens count in a throughput (`ok`, or cut off by the run's own end). `streamed`: False for an answer
    in one piece, which has no TTFT. `prompt`: 0 where neither we nor the server know. `tokens`: the answer's length,
    `Record.output_tokens`.
    `row`: int64[c], the chunk's request as row number, ascending. `chunk_tokens`: as counted. `weight`: float64[c], the
    same, scaled to the answer's length where the count is an estimate. `together`: bool[c], the chunk was read together
    with the one before.
    """

    measured: BoolArray
    stream: IntArray
    due: IntArray
    sent: IntArray
    first: IntArray
    end: IntArray
    left: IntArray
    tokens: IntArray
    prompt: IntArray
    ok: BoolArray
    waited_out: BoolArray
    useful: BoolArray
    streamed: BoolArray
    row: IntArray
    at: IntArray
    chunk_tokens: IntArray
    weight: FloatArray
    together: BoolArray

    @property
    def open_loop(self) -> bool:
        """Whether the measured requests had intended send times."""
        return bool(self.measured.any() and np.all(self.due[self.measured] != NONE))


def columns(records: Sequence[Record]) -> Columns:
    """`records` of all phases as columns, in the same order."""
    exchanges = [r.exchange for r in records]
    stamps = [r.stamps_ns for r in records]

    def whole(values: Sequence[int]) -> IntArray:
        return np.array(values, np.int64)

    def joined(parts: Sequence[IntArray]) -> IntArray:
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    row = np.repeat(np.arange(len(records), dtype=np.int64), [len(s) for s in stamps])
    read = joined([r.reads.astype(np.int64) for r in records])
    chunk_tokens = joined([r.chunk_tokens.astype(np.int64) for r in records])
    tokens = whole([r.output_tokens for r in records])
    counted = np.bincount(row, weights=chunk_tokens, minlength=len(records))
    scale = np.divide(tokens, counted, out=np.ones(len(records)), where=counted > 0)
    # An answer cut off by the run's own end lacks the total that the others are scaled to: it takes their scale.
    unknown = np.array([r.answer.counted not in EXACT and r.answer.total is None for r in records], np.bool_)
    told = ~unknown & (counted > 0)
    if told.any():
        scale[unknown] = tokens[told].sum() / counted[told].sum()
    together = np.zeros(len(row), np.bool_)
    together[1:] = (row[1:] == row[:-1]) & (read[1:] == read[:-1])
    return Columns(
        measured=np.array([e.phase == "measured" for e in exchanges], np.bool_),
        stream=whole([e.stream for e in exchanges]),
        due=whole([NONE if e.due_ns is None else e.due_ns for e in exchanges]),
        sent=whole([e.sent_ns for e in exchanges]),
        first=whole([int(s[0]) if len(s) else NONE for s in stamps]),
        end=whole([int(s[-1]) if len(s) else e.end_ns for s, e in zip(stamps, exchanges, strict=True)]),
        left=whole([int(s[-1]) if len(s) and r.outcome == "ok" else r.exchange.end_ns
                    for s, r in zip(stamps, records, strict=True)]),
        tokens=tokens,
        prompt=whole([r.prompt_tokens for r in records]),
        ok=np.array([r.outcome == "ok" for r in records], np.bool_),
        waited_out=np.array([r.outcome in ("no_first_byte", "stalled") for r in records], np.bool_),
        useful=np.array([r.outcome in ("ok", "cancelled") for r in records], np.bool_),
        streamed=np.array([r.answer.streamed for r in records], np.bool_),
        row=row, at=joined(stamps), chunk_tokens=chunk_tokens, together=together,
        weight=(chunk_tokens * scale[row]).astype(np.float64),
    )
