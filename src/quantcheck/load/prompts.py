"""Synthetic prompts: token ids of exact length, seeded, never the same twice."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quantcheck.errors import SpecError

__all__ = ["PromptSource", "prompts_sha256", "window_seed"]

EDGE = 1000
TRIES = 100


def window_seed(seed: int, *parts: str | int) -> int:
    """A seed for one window, from the experiment's seed and what names the window (workload, concurrency, block).

    The variant is not to be among `parts`: all variants get the same prompts.
    """
    text = "\0".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class PromptSource:
    """Prompts drawn uniformly from the middle of a vocabulary of `vocab_size` ids.

    Special tokens lie at either end of a vocabulary (control ids first, reserved and padding ids last): an eighth of
    it, at most 1,000 ids, is left out at each end.
    """

    def __init__(self, seed: int, vocab_size: int) -> None:
        edge = min(EDGE, vocab_size // 8)
        self.low, self.high = edge, vocab_size - edge
        if self.high - self.low < 2:
            raise SpecError(f"a vocabulary of {vocab_size} tokens is too small to draw prompts from")
        self._random = np.random.default_rng(seed)
        self._seen: set[bytes] = set()

    def draw(self, length: int) -> NDArray[np.int32]:
        """The next prompt: `length` ids, int32. Raises `SpecError` when no unused one of that length is found."""
        for _ in range(TRIES):
            ids = self._random.integers(self.low, self.high, size=length, dtype=np.int32)
            key = ids.tobytes()
            if key not in self._seen:
                self._seen.add(key)
                return ids
        raise SpecError(f"prompt_tokens: {length}: all prompts of that length are used up; take longer prompts")


def prompts_sha256(prompts: Sequence[NDArray[np.int32]]) -> str:
    """One hash over all prompts in order: each one's length and ids, little-endian int32."""
    digest = hashlib.sha256()
    for ids in prompts:
        digest.update(np.array([len(ids)], dtype="<i4").tobytes())
        digest.update(ids.astype("<i4").tobytes())
    return digest.hexdigest()
