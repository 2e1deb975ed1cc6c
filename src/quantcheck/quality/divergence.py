"""How far a variant's next-token distribution is from the baseline's, on the same tokens.

Over the full vocabulary where the engine gives logits; a lower bound from the likeliest tokens where it does not.

The baseline's logits are kept in a file while an experiment runs (4 bytes x scored tokens x vocabulary); every
variant is compared with them row by row. KL(P || Q) = sum_v P(v) (log P(v) - log Q(v)) with P the baseline, in nats
(Kullback and Leibler 1951), computed in float64 from float32 logits.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, xlogy

from quantcheck.engines.scorer import TopLogprobs
from quantcheck.errors import ModelError, StoreError

__all__ = ["BaselineLogits", "BaselineTop", "FloatArray", "InOrder", "LogitsWriter", "kl_divergence", "kl_lower_bound",
           "save_arrays", "save_top"]

FloatArray = NDArray[np.floating[Any]]

_HEAD = np.dtype("<i8")
"""What stands before the rows: the size of the vocabulary."""
_LEAST_TAIL = 1e-6
"""The least that a variant's tail is taken for: below, it is the rounding of float32 log-probabilities."""


def kl_divergence(baseline: FloatArray, variant: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """KL divergence in nats and top-1 agreement for each row of two logit arrays of shape [tokens, vocabulary].

    A token that the baseline cannot write (a logit of minus infinity) adds nothing; one that only the variant cannot
    makes it infinite.
    """
    p = log_softmax(baseline.astype(np.float64), axis=-1)
    q = log_softmax(variant.astype(np.float64), axis=-1)
    apart = np.subtract(p, q, out=np.zeros_like(p), where=np.isfinite(p))
    divergence = np.einsum("tv,tv->t", np.exp(p), apart)
    # Rounding can leave -1e-17 where the two are equal; KL is never negative.
    return np.maximum(divergence, 0.0), np.equal(baseline.argmax(axis=-1), variant.argmax(axis=-1))


def kl_lower_bound(
    baseline: TopLogprobs, variant: TopLogprobs, vocabulary: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A lower bound of KL(P || Q) in nats, and top-1 agreement, for each row, from the likeliest tokens of each.

    Let K be the tokens that both list, and p, q the mass of all others (1 minus the sum over K). The bound is
    sum_{v in K} P(v) (log P(v) - log Q(v)) + p (log p - log q). It is the divergence of the two distributions after
    all tokens outside K were merged into one; merging cannot raise it, by the log sum inequality (Cover and Thomas,
    Elements of Information Theory, 2nd ed., theorems 2.7.1 and 2.8.1). Which tokens are merged may depend on the row.
    With K the whole vocabulary (`vocabulary` tokens) it is KL itself.

    A tail q is taken for at least 1e-6, which lowers the bound and never raises it. Log-probabilities rounded to
    float32 leave a tail p with an error of about 1e-6, and the bound with one of about 2e-5.
    """
    tokens = np.arange(len(baseline.ids))
    order = np.argsort(variant.ids, axis=1)
    ids, logs = (np.take_along_axis(array, order, axis=1) for array in (variant.ids, variant.logprobs))
    divergence = np.empty(len(tokens))
    for row in tokens:
        at = np.minimum(np.searchsorted(ids[row], baseline.ids[row]), ids.shape[1] - 1)
        # An id below 0 is a spelling that several tokens share: it names none, and counts as tail.
        both = (ids[row, at] == baseline.ids[row]) & (baseline.ids[row] >= 0)
        log_p, log_q = baseline.logprobs[row, both], logs[row, at[both]]
        p, q = np.exp(log_p), np.exp(log_q)
        divergence[row] = np.sum(p * (log_p - log_q))
        if both.sum() < vocabulary:
            tail_p, tail_q = max(1.0 - p.sum(), 0.0), max(1.0 - q.sum(), _LEAST_TAIL)
            divergence[row] += xlogy(tail_p, tail_p / tail_q)
    return np.maximum(divergence, 0.0), np.equal(baseline.ids[:, 0], variant.ids[:, 0])


class LogitsWriter:
    """Writes rows of logits to `path`, which appears there only when all rows are on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._file = self._part.open("wb")

    def append(self, rows: FloatArray) -> None:
        """Append `rows` [tokens, vocabulary]. Raises `StoreError` when the disk is full."""
        try:
            if self._file.tell() == 0:
                np.array([rows.shape[1]], dtype=_HEAD).tofile(self._file)
            np.ascontiguousarray(rows, dtype=np.float32).tofile(self._file)
        except OSError as error:
            raise _full(self._path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            if kind is None:
                self._part.replace(self._path)
        except OSError as error:
            raise _full(self._path, error) from error
        finally:
            self._file.close()
            self._part.unlink(missing_ok=True)


class InOrder:
    """The place in a kept file from which the next rows are taken."""

    _next = 0

    def skip(self, count: int) -> None:
        """Leave out the next `count` rows."""
        self._next += count

    def _advance(self, count: int) -> slice:
        """Where the next `count` rows are, which are behind us then."""
        self.skip(count)
        return slice(self._next - count, self._next)


class BaselineLogits(InOrder):
    """Reads the rows back in order; `ModelError` when they are over another vocabulary than `vocabulary` tokens."""

    def __init__(self, path: Path, vocabulary: int) -> None:
        found = int(np.fromfile(path, dtype=_HEAD, count=1)[0])
        if found != vocabulary:
            raise ModelError(
                f"the baseline has a vocabulary of {found} tokens, this variant one of {vocabulary}: their tokenizers "
                "differ, so they cannot be compared"
            )
        rows = np.memmap(path, dtype=np.float32, mode="r", offset=_HEAD.itemsize)
        self._rows = rows.reshape(-1, vocabulary)

    def take(self, count: int) -> FloatArray:
        """The next `count` rows, [count, vocabulary]."""
        return np.asarray(self._rows[self._advance(count)])

    @property
    def count(self) -> int:
        return len(self._rows)


def save_top(path: Path, parts: Sequence[TopLogprobs], vocabulary: int) -> None:
    """Writes the baseline's likeliest tokens, row after row; the file is there whole or not at all.

    Raises `StoreError` when the disk is full. 8 bytes x scored tokens x k.
    """
    save_arrays(
        path, vocabulary=np.int64(vocabulary),
        ids=np.concatenate([rows.ids for rows in parts]).astype(np.int32),
        logprobs=np.concatenate([rows.logprobs for rows in parts]).astype(np.float32),
    )  # fmt: skip


def save_arrays(path: Path, **arrays: Any) -> None:
    """Writes named arrays as .npz; the file is there whole or not at all. Raises `StoreError` when the disk is full."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise _full(path, error) from error
    finally:
        part.unlink(missing_ok=True)


class BaselineTop(InOrder):
    """What `save_top` wrote, in order; `ModelError` when it is over another vocabulary or another number of tokens."""

    def __init__(self, path: Path, vocabulary: int, top_k: int) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            found, self._ids, self._logprobs = int(arrays["vocabulary"]), arrays["ids"], arrays["logprobs"]
        if found != vocabulary or self._ids.shape[1] != top_k:
            raise ModelError(
                f"the baseline has a vocabulary of {found} tokens, its {self._ids.shape[1]} likeliest known, this "
                f"variant one of {vocabulary}, {top_k} known: they cannot be compared"
            )

    def take(self, count: int) -> TopLogprobs:
        """The next `count` rows, without the tokens' own log-probabilities."""
        rows = self._advance(count)
        return TopLogprobs(np.full(count, np.nan), self._ids[rows], self._logprobs[rows].astype(np.float64))

    @property
    def count(self) -> int:
        return len(self._ids)


def _full(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: the baseline's logits cannot be written ({error.strerror or error}); free disk space, or score "
        "fewer tokens (quality.texts.NAME.tokens)"
    )
