"""How the next token is chosen: the most likely one, or one drawn at a temperature.

A draw is the inverse of the cumulative distribution at one uniform number. Every prompt has its own stream of such
numbers, made from its own seed: which other prompts share a step does not change what it is dealt.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.scorer import FloatArray, Seeded

__all__ = ["Chooser", "Greedy", "Temperature"]


class Greedy:
    """The most likely token; a tie goes to the smaller token id."""

    def choose(self, logits: FloatArray, places: Sequence[int], steps: Sequence[int]) -> list[int]:
        """One token for each row of `logits` [prompts, vocabulary]; `places`, `steps`: which prompt, how far it is."""
        chosen: list[int] = logits.argmax(axis=1).tolist()
        return chosen


class Temperature:
    """Draws from softmax(logits / temperature), cut to `top_p`; `length`: the most tokens of an answer."""

    def __init__(self, how: Seeded, length: int) -> None:
        self._how = how
        self._uniforms = np.array([np.random.Generator(np.random.PCG64(seed)).random(length) for seed in how.seeds])

    def choose(self, logits: FloatArray, places: Sequence[int], steps: Sequence[int]) -> list[int]:
        """As `Greedy.choose`; prompt `places[i]` uses number `steps[i]` of its own stream."""
        weights = logits.astype(np.float64) / self._how.temperature
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
        uniforms = self._uniforms[places, steps]
        if self._how.top_p == 1.0:
            return _inverse(weights, uniforms)
        order = np.argsort(-weights, axis=1, kind="stable")
        ranked = np.take_along_axis(weights, order, axis=1)
        before = np.cumsum(ranked, axis=1) - ranked
        # The token with which the sum reaches top_p still belongs to it.
        ranked[before >= self._how.top_p * ranked.sum(axis=1, keepdims=True)] = 0.0
        ranks = _inverse(ranked, uniforms)
        return [int(row[rank]) for row, rank in zip(order, ranks, strict=True)]


def _inverse(weights: NDArray[np.float64], uniforms: NDArray[np.float64]) -> list[int]:
    """In each row the first place at which the running sum exceeds its uniform number's share of the whole."""
    running = np.cumsum(weights, axis=1)
    reached: Any = running <= uniforms[:, None] * running[:, -1:]
    # Rounding could point behind the last token that has any weight.
    last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
    chosen: list[int] = np.minimum(reached.sum(axis=1), last).tolist()
    return chosen


Chooser = Greedy | Temperature
