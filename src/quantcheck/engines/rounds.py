"""Answers that end at what the caller sees in them, from a server that stops at tokens alone: written in rounds."""

from collections.abc import Callable, Sequence

import numpy as np

from quantcheck.engines.scorer import IntArray, Over

__all__ = ["in_rounds"]

FIRST_ROUND, GROWTH = 32, 4
"""Tokens written before the first look, and how much further each next look is: every round reads its prompts again."""


def in_rounds(
    write: Callable[[Sequence[IntArray], int], Sequence[IntArray]], prompts: Sequence[IntArray], max_tokens: int,
    over: Over,
) -> list[IntArray]:
    """Up to `max_tokens` tokens after each prompt: those of `write(prompts, tokens)`, again and again, until it gives
    fewer than were asked for or `over` says that the answer is."""
    written: list[IntArray] = [np.empty(0, dtype=np.int32) for _ in prompts]
    still = list(range(len(prompts)))
    size, total = FIRST_ROUND, 0
    while still and total < max_tokens:
        size = min(size, max_tokens - total)
        asked = [np.concatenate([prompts[place], written[place]]).astype(np.int32) for place in still]
        going_on = []
        for place, more in zip(still, write(asked, size), strict=True):
            written[place] = np.concatenate([written[place], more]).astype(np.int32)
            if len(more) == size and not over(written[place]):
                going_on.append(place)
        still = going_on
        total += size
        size *= GROWTH
    return written
