"""Perplexity and divergence once more, in plain float64 numpy, from logits and targets alone."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["divergences", "log_probabilities", "read_logits", "targets_of", "token_nll", "write_logits"]

Float64 = NDArray[np.float64]


def log_probabilities(logits: NDArray[Any]) -> Float64:
    """Row by row: x minus the logarithm of the sum of exponentials, around the row's maximum."""
    exact = np.asarray(logits, dtype=np.float64)
    top = exact.max(axis=1, keepdims=True)
    return exact - top - np.log(np.exp(exact - top).sum(axis=1, keepdims=True))


def token_nll(logits: NDArray[Any], targets: NDArray[Any]) -> Float64:
    """-log p of each target, [tokens]."""
    return np.array([-row[target] for row, target in zip(log_probabilities(logits), targets.tolist(), strict=True)])


def divergences(baseline: NDArray[Any], variant: NDArray[Any]) -> Float64:
    """KL(baseline || variant) of each row in nats."""
    p, q = log_probabilities(baseline), log_probabilities(variant)
    return np.array([sum(float(np.exp(a)) * float(a - b) for a, b in zip(x, y, strict=True))
                     for x, y in zip(p, q, strict=True)])


def read_logits(path: Path, vocabulary: int) -> NDArray[np.float32]:
    """The rows of a baseline's logits file: the size of the vocabulary as eight bytes, then float32."""
    assert np.fromfile(path, dtype="<i8", count=1)[0] == vocabulary
    return np.fromfile(path, dtype="<f4", offset=8).reshape(-1, vocabulary)


def write_logits(path: Path, vocabulary: int, *, rows: int) -> None:
    """A file of logits that are all zero."""
    path.write_bytes(np.int64(vocabulary).tobytes() + np.zeros((rows, vocabulary), dtype="<f4").tobytes())


def targets_of(documents: list[NDArray[Any]], limit: int | None = None) -> NDArray[Any]:
    """What is scored, in order: every token of a document but its first."""
    return np.concatenate([document[1:] for document in documents])[:limit]
