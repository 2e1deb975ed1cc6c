"""Sliding windows over documents: which tokens are fed together, and which of them are scored.

A window holds at most `context` tokens; the next one begins so that it scores the `stride` tokens that follow,
with at least `context - stride` tokens before them (fewer only at a document's start). Every token of a document
but its first is scored exactly once. This is the strided perplexity of
https://huggingface.co/docs/transformers/perplexity, document by document.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Window", "windows"]

IntArray = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Window:
    """`tokens` are fed together; the last `scored` of them are scored, each by the position before it."""

    document: int
    tokens: IntArray
    scored: int


def windows(documents: Sequence[IntArray], context: int, stride: int, limit: int | None = None) -> Iterator[Window]:
    """The windows over `documents` (token ids, beginning with BOS where the model has one), in order.

    `limit` ends after so many scored tokens (the last window is cut to it exactly).
    """
    left = limit
    for number, tokens in enumerate(documents):
        end = 1
        while end < len(tokens):
            # The first window of a document has no tokens before it to keep: it may fill the whole context.
            span = min(context - 1 if end == 1 else stride, len(tokens) - end)
            if left is not None:
                span = min(span, left)
                left -= span
            if span == 0:
                return
            end += span
            yield Window(number, tokens[max(0, end - context) : end], span)
