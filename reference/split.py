"""The train/test split: a property of the text itself, not of a seed or of an order.

A prompt (for stories: the whole document) belongs to the test side exactly when its SHA-256 falls in one
residue class of 16. Training generators reject such texts, test generators accept only them, so no seed
and no number of samples can make the two meet.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import NamedTuple

RESIDUES = 16


class Sample(NamedTuple):
    """One document of a skill: what the model is given, what it should write, what else scoring needs.

    The training text is `prompt + answer + "\\n"`; the answer begins with a space.
    """

    prompt: str
    answer: str
    item: dict[str, object]


def is_test(text: str) -> bool:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % RESIDUES == 0


def draw(make: Callable[[random.Random], Sample], rng: random.Random, test: bool) -> Sample:
    """The next sample of a generator that lies on the wanted side."""
    while True:
        sample = make(rng)
        if is_test(sample.prompt) is test:
            return sample
