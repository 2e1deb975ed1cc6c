"""How many tokens prompts and answers have."""

import math

import numpy as np
from numpy.typing import NDArray

from quantcheck.errors import SpecError
from quantcheck.spec.load import Length, Lognormal, Uniform

__all__ = ["draw", "longest"]

MOST = 2**31 - 1


def longest(length: Length) -> int:
    """The greatest number of tokens that can be drawn: what a model's context must hold."""
    return length if isinstance(length, int) else length.max


def draw(length: Length, count: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """int32[count]: lengths in tokens. Further draws continue the sequence: two of 5 are the same as one of 10.

    A lognormal is truncated, not clipped: values beyond [min, max] would otherwise pile up on the borders. Each length
    is the inverse CDF of one uniform number from [F(min - 1/2), F(max + 1/2)], rounded: the distribution that redrawing
    until a value fits has too, with exactly one draw each. `median` and `sigma` are those of the whole lognormal; the
    cut moves them. Raises `SpecError` for lengths beyond an int32.
    """
    if longest(length) > MOST:
        raise SpecError(f"{longest(length)} tokens are more than any server takes; give a shorter length")
    if isinstance(length, int):
        return np.full(count, length, np.int32)
    if isinstance(length, Uniform):
        return rng.integers(length.min, length.max + 1, size=count, dtype=np.int64).astype(np.int32)
    return _truncated_lognormal(length, rng.random(count))


def _truncated_lognormal(length: Lognormal, uniform: NDArray[np.float64]) -> NDArray[np.int32]:
    from scipy.special import ndtr, ndtri  # a tenth of a second, which fixed lengths need not wait for

    location = math.log(length.median)
    below, above = (ndtr((math.log(edge) - location) / length.sigma) for edge in (length.min - 0.5, length.max + 0.5))
    with np.errstate(over="ignore"):  # beyond every max
        values = np.exp(location + length.sigma * ndtri(below + (above - below) * uniform))
    clipped: NDArray[np.float64] = np.clip(np.rint(values), length.min, length.max)  # of edges and rounding errors
    return clipped.astype(np.int32)
