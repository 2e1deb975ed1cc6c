"""The scored tokens on which a variant is furthest from the baseline, with what stands before them.

They are picked while a corpus is scored, when both distributions are at hand: full ones are not kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from quantcheck.engines.scorer import FloatArray, IntArray, TopLogprobs
from quantcheck.quality.tasks import Tokenizer
from quantcheck.quality.windows import Window

__all__ = ["WORST", "Likely", "WorstToken", "WorstTokens", "likely_of_logits", "likely_of_top", "worst_in_words"]

WORST = 20
"""Tokens that are kept of a corpus."""
BEFORE_TOKENS = 32
BEFORE_CHARACTERS = 160
TOKEN_CHARACTERS = 80
"""A token may be as long as its vocabulary likes."""


@dataclass(frozen=True, slots=True)
class Likely:
    """What a model expected at one place, in natural logarithms: its likeliest token, and the one that is there.

    `own` is None where a server tells the likeliest tokens only and that one is not among them.
    """

    token: int
    logprob: float
    own: float | None


@dataclass(frozen=True, slots=True)
class WorstToken:
    """One token: `position` in its document from 0, and the ids of what was before it in its window."""

    kl: float
    document: int
    position: int
    before: IntArray
    token: int
    baseline: Likely
    variant: Likely


Read = Callable[[int], tuple[Likely, Likely]]
"""What the baseline and the variant expected at one scored row of the window."""


class WorstTokens:
    """Told every window in order; keeps the `most` tokens with the largest divergence above 0."""

    def __init__(self, most: int = WORST) -> None:
        self._most = most
        self._found: list[WorstToken] = []
        self._document = -1
        self._scored = 0

    def offer(self, window: Window, kl: NDArray[np.float64], read: Read) -> None:
        """Take in the divergences [scored] of a window; `read` is asked for the few rows that are kept."""
        if window.document != self._document:
            self._document, self._scored = window.document, 0
        full = len(self._found) == self._most
        above = np.flatnonzero(kl > (self._found[-1].kl if full else 0.0))
        first = len(window.tokens) - window.scored
        for row in above[np.argsort(-kl[above], kind="stable")][: self._most].tolist():
            place, (baseline, variant) = first + row, read(row)
            self._found.append(WorstToken(
                float(kl[row]), window.document, 1 + self._scored + row,
                window.tokens[max(0, place - BEFORE_TOKENS) : place].copy(), int(window.tokens[place]),
                baseline, variant,
            ))  # fmt: skip
        self._scored += window.scored
        if len(above):
            self._found.sort(key=lambda token: -token.kl)
            del self._found[self._most :]

    @property
    def found(self) -> list[WorstToken]:
        """The largest divergence first."""
        return list(self._found)


def likely_of_logits(row: FloatArray, own: int) -> Likely:
    """From one row of logits [vocabulary]."""
    logprobs = log_softmax(row.astype(np.float64))
    token = int(logprobs.argmax())
    return Likely(token, float(logprobs[token]), float(logprobs[own]))


def likely_of_top(rows: TopLogprobs, row: int, own: int) -> Likely:
    """From the likeliest tokens of one row."""
    known = float(rows.own[row])
    if np.isnan(known):
        at = np.flatnonzero(rows.ids[row] == own)
        return Likely(int(rows.ids[row, 0]), float(rows.logprobs[row, 0]),
                      float(rows.logprobs[row, at[0]]) if len(at) else None)
    return Likely(int(rows.ids[row, 0]), float(rows.logprobs[row, 0]), known)


def worst_in_words(found: Sequence[WorstToken], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The tokens as JSON values for a cell's result: texts instead of ids, probabilities instead of logarithms."""
    return [_in_words(token, tokenizer) for token in found]


def _in_words(found: WorstToken, tokenizer: Tokenizer) -> dict[str, Any]:
    before = tokenizer.decode(found.before)

    def text(token: int) -> str:
        if token < 0:
            return "[not told]"  # by a server that spells several tokens alike
        # Some tokenizers drop a leading space of what they decode alone.
        whole = tokenizer.decode(np.append(found.before, token))
        piece = whole[len(before) :] if whole.startswith(before) else tokenizer.decode(np.array([token]))
        return piece[:TOKEN_CHARACTERS] or f"[token {token}]"

    def of(name: str, likely: Likely) -> dict[str, Any]:
        return {
            f"{name}_p": None if likely.own is None else float(np.exp(likely.own)),
            f"{name}_likeliest": text(likely.token),
            f"{name}_likeliest_p": float(np.exp(likely.logprob)),
        }

    return {
        "document": found.document,
        "position": found.position,
        "kl_divergence": found.kl,
        "before": before[-BEFORE_CHARACTERS:],
        "token": text(found.token),
        **of("baseline", found.baseline),
        **of("variant", found.variant),
    }
