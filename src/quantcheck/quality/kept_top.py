"""The baseline's distributions in little room: the likeliest tokens of each place in half precision, all others lumped.

6 bytes x k + 4 a scored token instead of 4 x vocabulary: 1.5 kB instead of 0.6 MB with 152,000 tokens. What is lost is
told, not guessed: the divergence becomes a lower bound (`divergence.kl_lower_bound` says why), half precision moves it
by at most a bound that is computed for every token, and on a sample of places the whole distribution is kept, too.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from quantcheck.engines.scorer import TopLogprobs
from quantcheck.errors import ModelError
from quantcheck.quality.divergence import FloatArray, InOrder, kl_divergence, save_arrays

__all__ = ["FULL_BYTES", "KEPT_TOP", "Kept", "KeptDivergence", "KeptTop", "TopWriter", "kl_of_kept"]

FULL_BYTES = 8_000_000_000
"""All logits of a corpus are kept up to this size, where the experiment says nothing else."""
KEPT_TOP = 256
SAMPLE_BYTES = 64_000_000
"""The most that whole distributions of sampled places may take."""

HALF = 2.0**-11
"""The largest relative error of rounding to half precision; below its normal range 2^-25 is the absolute one."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of the baseline: `top`, the likeliest first; `tail` [rows], the probability of all others.

    `doubt` [rows, k]: how far the true log-probabilities of the likeliest may be from these. `whole`: the logits of
    some rows, by the row's number among these.
    """

    top: TopLogprobs
    tail: NDArray[np.float64]
    doubt: NDArray[np.float64]
    whole: dict[int, FloatArray]


class TopWriter:
    """Keeps what `append` is given and writes it at the end; `path` appears only when all is on the disk.

    `total`: rows that the corpus has, so that the sample can be spread over all of them; `before`: how many of them
    come before those that are given.
    """

    def __init__(self, path: Path, total: int, vocabulary: int, top_k: int = KEPT_TOP, *, before: int = 0) -> None:
        self._path, self._vocabulary, self._k = path, vocabulary, min(top_k, vocabulary)
        self._every = max(1, math.ceil(total * vocabulary * 4 / SAMPLE_BYTES))
        self._ids: list[NDArray[np.int32]] = []
        self._logprobs: list[NDArray[np.float16]] = []
        self._tail: list[NDArray[np.float32]] = []
        self._sampled: list[int] = []
        self._whole: list[FloatArray] = []
        self._before, self._rows = before, 0

    def append(self, rows: FloatArray) -> None:
        """Keep `rows` of logits [tokens, vocabulary]."""
        ids = np.argpartition(rows, self._vocabulary - self._k, axis=1)[:, self._vocabulary - self._k :]
        # Of equal ones the first leads, as in argmax.
        ids = np.take_along_axis(ids, np.lexsort((ids, -np.take_along_axis(rows, ids, axis=1)), axis=1), axis=1)
        logprobs = log_softmax(rows.astype(np.float64), axis=1)
        self._ids.append(ids.astype(np.int32))
        self._logprobs.append(np.take_along_axis(logprobs, ids, axis=1).astype(np.float16))
        self._tail.append(_others(logprobs, ids).astype(np.float32))
        for row in range(-(self._before + self._rows) % self._every, len(rows), self._every):
            self._sampled.append(self._rows + row)
            self._whole.append(rows[row].copy())
        self._rows += len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            save_arrays(
                self._path, vocabulary=np.int64(self._vocabulary), ids=np.concatenate(self._ids),
                logprobs=np.concatenate(self._logprobs), tail=np.concatenate(self._tail),
                sampled=np.array(self._sampled, dtype=np.int64),
                whole=np.array(self._whole, dtype=np.float32).reshape(-1, self._vocabulary),
            )  # fmt: skip


class KeptTop(InOrder):
    """What `TopWriter` wrote, in order; `ModelError` when it is over another vocabulary."""

    def __init__(self, path: Path, vocabulary: int) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            found, self._ids, self._logprobs = int(arrays["vocabulary"]), arrays["ids"], arrays["logprobs"]
            self._tail, self._sampled, self._whole = arrays["tail"], arrays["sampled"], arrays["whole"]
        if found != vocabulary:
            raise ModelError(f"the baseline has a vocabulary of {found} tokens, this variant one of {vocabulary}: "
                             "their tokenizers differ, so they cannot be compared")

    @property
    def count(self) -> int:
        return len(self._ids)

    @property
    def top_k(self) -> int:
        return int(self._ids.shape[1])

    def take(self, count: int) -> Kept:
        """The next `count` rows."""
        rows = self._advance(count)
        tail = self._tail[rows].astype(np.float64)
        # The tail is exact to single precision: what half precision did to the others is scaled away.
        rounded = self._logprobs[rows].astype(np.float64)
        scaled = rounded - logsumexp(rounded, axis=1, keepdims=True) + np.log1p(-tail)[:, np.newaxis]
        known = np.isfinite(rounded)
        doubt = np.where(known, HALF * np.abs(np.where(known, rounded, 0.0)) + 2.0**-25, 0.0)
        doubt = doubt + logsumexp(rounded + doubt, axis=1, keepdims=True) - logsumexp(rounded, axis=1, keepdims=True)
        first, last = np.searchsorted(self._sampled, [rows.start, rows.stop])
        whole = {int(self._sampled[at]) - rows.start: self._whole[at] for at in range(first, last)}
        return Kept(TopLogprobs(np.full(count, np.nan), self._ids[rows], scaled), tail, doubt, whole)


@dataclass(frozen=True, slots=True)
class KeptDivergence:
    """All [rows] but `gaps`: full divergence minus `kl`, of the rows whose whole distribution was kept.

    The full divergence is never below `kl - error`.
    """

    kl: NDArray[np.float64]
    top1: NDArray[np.bool_]
    error: NDArray[np.float64]
    gaps: NDArray[np.float64]


def kl_of_kept(baseline: Kept, variant: FloatArray) -> KeptDivergence:
    """A lower bound of KL(P || Q) in nats for each row; `variant` are its logits [rows, vocabulary].

    The likeliest tokens of P count one by one and all others as one. `error`: half precision left log P(v) within
    d_v = 2^-11 |log P(v)|, and scaling within d_v + log sum_v w_v exp(d_v) =: D_v, w being P over the likeliest
    (`Kept.doubt`). With the mass of the likeliest fixed,
    sum P' expm1(D) |log P'/Q - c| + sum P' expm1(D)^2 bounds what that does to KL, for
    any constant c: the first sum is the change at fixed ratios, the second bounds KL(P || P') by chi-squared.
    """
    top, tail = baseline.top, baseline.tail
    logprobs = log_softmax(variant.astype(np.float64), axis=1)
    log_p, log_q = top.logprobs, np.take_along_axis(logprobs, top.ids, axis=1)
    p = np.exp(log_p)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(p > 0, log_p - log_q, 0.0)
        tail_ratio = np.where(tail > 0, np.log(tail) - np.log(_others(logprobs, top.ids)), 0.0)
    kl = np.sum(p * ratio, axis=1) + tail * tail_ratio

    head = p.sum(axis=1, keepdims=True)
    relative = np.expm1(baseline.doubt)
    middle = np.sum(p * ratio, axis=1, keepdims=True) / head
    error = np.sum(p * relative * (np.abs(ratio - middle) + relative), axis=1)
    error += tail * 2.0**-23 * (np.abs(tail_ratio) + 1)

    gaps = [float(kl_divergence(row[np.newaxis], variant[[at]])[0][0]) - max(float(kl[at]), 0.0)
            for at, row in baseline.whole.items()]
    agree = np.equal(top.ids[:, 0], variant.argmax(axis=1))
    return KeptDivergence(np.maximum(kl, 0.0), agree, error, np.array(gaps))


def _others(logprobs: NDArray[np.float64], ids: NDArray[Any]) -> NDArray[np.float64]:
    """The probability of all tokens but `ids` of each row: summed, not 1 minus the rest, which rounding would eat."""
    probabilities = np.exp(logprobs)
    np.put_along_axis(probabilities, ids, 0.0, axis=1)
    total: NDArray[np.float64] = probabilities.sum(axis=1)
    return total
