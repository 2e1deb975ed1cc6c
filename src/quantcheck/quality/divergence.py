"""How far a variant's next-token distribution is from the baseline's, on the same tokens, over the full vocabulary.

The baseline's logits are kept in a file while an experiment runs (4 bytes x scored tokens x vocabulary); every
variant is compared with them row by row. KL(P || Q) = sum_v P(v) (log P(v) - log Q(v)) with P the baseline, in nats
(Kullback and Leibler 1951), computed in float64 from float32 logits.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from quantcheck.errors import ModelError, StoreError

__all__ = ["BaselineLogits", "LogitsWriter", "kl_divergence"]

FloatArray = NDArray[np.floating[Any]]

_HEAD = np.dtype("<i8")
"""What stands before the rows: the size of the vocabulary."""


def kl_divergence(baseline: FloatArray, variant: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """KL divergence in nats and top-1 agreement for each row of two logit arrays of shape [tokens, vocabulary]."""
    p = log_softmax(baseline.astype(np.float64), axis=-1)
    q = log_softmax(variant.astype(np.float64), axis=-1)
    divergence = np.einsum("tv,tv->t", np.exp(p), p - q)
    # Rounding can leave -1e-17 where the two are equal; KL is never negative.
    return np.maximum(divergence, 0.0), np.equal(baseline.argmax(axis=-1), variant.argmax(axis=-1))


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


class BaselineLogits:
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
        self._next = 0

    def take(self, count: int) -> FloatArray:
        """The next `count` rows, [count, vocabulary]."""
        rows = self._rows[self._next : self._next + count]
        self._next += count
        return np.asarray(rows)

    @property
    def count(self) -> int:
        return len(self._rows)


def _full(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: the baseline's logits cannot be written ({error.strerror or error}); free disk space, or score "
        "fewer tokens (quality.texts.NAME.tokens)"
    )
