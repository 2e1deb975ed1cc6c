"""How far two kept sets of next-token distributions are apart, from the files in which scoring kept them.

Files of logits (`divergence.LogitsWriter`) give the divergence over the full vocabulary. Where one of the two has the
likeliest tokens only (`divergence.save_top`, of a server), the other is cut to as many, and it is a lower bound.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from quantcheck.engines.scorer import TopLogprobs
from quantcheck.errors import ModelError
from quantcheck.quality.divergence import BaselineLogits, BaselineTop, FloatArray, kl_divergence, kl_lower_bound

__all__ = ["apart", "top_of_logits"]

ROWS = 256
"""Rows that are held in memory at once, of each side."""

Apart = tuple[NDArray[np.float64], NDArray[np.bool_]]


def apart(first: Path, second: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_], int | None]:
    """KL(first || second) in nats and top-1 agreement, [tokens]; and from how many likeliest tokens, None: from all.

    Raises `ModelError` where the two are over other vocabularies or other numbers of tokens.
    """
    (vocabulary, known), (other, other_known) = _shape(first), _shape(second)
    if vocabulary != other:
        raise ModelError(f"one engine has a vocabulary of {vocabulary} tokens, the other one of {other}: they cannot "
                         "be compared")
    k = min(known, other_known)
    parts = [kl_divergence(p, q) for p, q in zip(_logits(first, vocabulary), _logits(second, vocabulary), strict=True)
             ] if k == vocabulary else [
        kl_lower_bound(p, q, vocabulary) for p, q in zip(_top(first, vocabulary, k), _top(second, vocabulary, k),
                                                         strict=True)]
    kl, same = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return kl, same, None if k == vocabulary else k


def top_of_logits(rows: FloatArray, k: int) -> TopLogprobs:
    """The `k` likeliest tokens of each row of logits [tokens, vocabulary], the likeliest first."""
    logprobs = log_softmax(rows.astype(np.float64), axis=1)
    ids = np.argsort(-logprobs, axis=1, kind="stable")[:, :k].astype(np.int32)
    return TopLogprobs(np.full(len(rows), np.nan), ids, np.take_along_axis(logprobs, ids, axis=1))


def _shape(path: Path) -> tuple[int, int]:
    """Tokens of the vocabulary, and how many of them are known at each place."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return int(arrays["vocabulary"]), int(arrays["ids"].shape[1])
    vocabulary = int(np.fromfile(path, dtype="<i8", count=1)[0])
    return vocabulary, vocabulary


def _logits(path: Path, vocabulary: int) -> Iterator[FloatArray]:
    rows = BaselineLogits(path, vocabulary)
    for start in range(0, rows.count, ROWS):
        yield rows.take(min(ROWS, rows.count - start))


def _top(path: Path, vocabulary: int, k: int) -> Iterator[TopLogprobs]:
    if path.suffix != ".npz":
        for logits in _logits(path, vocabulary):
            yield top_of_logits(logits, k)
        return
    _, known = _shape(path)
    rows = BaselineTop(path, vocabulary, known)
    for start in range(0, rows.count, ROWS):
        found = rows.take(min(ROWS, rows.count - start))
        yield TopLogprobs(found.own, found.ids[:, :k], found.logprobs[:, :k])
