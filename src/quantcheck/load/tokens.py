"""How many tokens each chunk of an answer carries: the best count that the whole answer allows, and which it was.

A server may send several tokens in one chunk (speculative decoding, a busy writer), half a token's text, or none, so
the number of chunks is the last resort. One way of counting holds for a whole answer; mixed counts cannot be checked.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["EXACT", "NOT_TOLD", "Counted", "Part", "count_tokens", "retokenized"]

Counted = Literal["server count", "token ids", "logprobs", "running usage", "retokenized", "one per chunk"]
"""By the server's own running total, by the ids a chunk carries, by its number of log-probabilities, by `usage` in
every chunk, by tokenizing the text afterwards, or taken to be one per chunk with text. In order of preference."""

EXACT: frozenset[Counted] = frozenset({"server count", "token ids", "running usage"})
"""Counts by which an answer's length may be judged; with the others the server's final total goes first."""

NOT_TOLD = -1


Part = tuple[int, str, int, int, int, bool]
"""What one chunk tells of its tokens: (read, text, ids, logprobs, total, reasoning).

`read`: the read it came with. `text`: output text of any kind. `ids`, `logprobs`: how many it lists; `total`: output
tokens so far; NOT_TOLD where it does not say. `reasoning`: whether its text is reasoning. A plain tuple, since an
answer has thousands of them.
"""


def count_tokens(
    parts: Sequence[Part], tokenizer: "Tokenizer | None" = None, running: Counted = "running usage"
) -> tuple[Counted, list[int]]:
    """(how, tokens of each part). A way is open when every part with text allows it and it finds any token at all.

    `running` names what the parts' `total` is. A part without text (a role, a finish reason, half a character) has
    tokens only if ids, log-probabilities or a total say so; what a total rises by belongs to the part that shows it.
    """
    if not parts:
        return "one per chunk", []
    _, texts, ids, logprobs, totals, _ = zip(*parts, strict=True)
    if running == "server count" and (counts := _steps(texts, totals)) is not None:
        return running, counts
    if (counts := _listed(texts, ids)) is not None:
        return "token ids", counts
    if (counts := _listed(texts, logprobs)) is not None:
        return "logprobs", counts
    if running != "server count" and (counts := _steps(texts, totals)) is not None:
        return running, counts
    if tokenizer is not None and any(texts):
        return "retokenized", retokenized(texts, tokenizer)
    return "one per chunk", [1 if text else 0 for text in texts]


def _told(texts: Sequence[str], values: Sequence[int]) -> bool:
    return min(values) >= 0 or (
        max(values) > 0 and all(value >= 0 for text, value in zip(texts, values, strict=True) if text))


def _listed(texts: Sequence[str], values: Sequence[int]) -> list[int] | None:
    if max(values) <= 0 or not _told(texts, values):
        return None
    return [max(value, 0) for value in values]


def _steps(texts: Sequence[str], totals: Sequence[int]) -> list[int] | None:
    """Differences of a running total; None where it is not told with every text, finds nothing, or ever falls."""
    if max(totals) <= 0 or not _told(texts, totals):
        return None
    # Parts without text need not repeat the total: it stands.
    held = list(accumulate(totals, lambda before, now: before if now < 0 else now, initial=0))
    steps = [now - before for before, now in pairwise(held)]
    return steps if min(steps) >= 0 else None


def retokenized(texts: Sequence[str], tokenizer: "Tokenizer") -> list[int]:
    """Tokens of each of `texts`, which are one text cut up: it is tokenized once, and a token belongs to the piece in
    which it begins, as if the growing text had been tokenized after every piece.

    Switches the tokenizer's truncation and padding off, which would falsify the count.
    """
    if tokenizer.truncation is not None:
        tokenizer.no_truncation()
    if tokenizer.padding is not None:
        tokenizer.no_padding()
    # Lone surrogates, which JSON can spell, are no text: a question mark each keeps the places.
    whole = "".join(texts).encode("utf-8", "replace").decode("utf-8")
    encoding = tokenizer.encode(whole, add_special_tokens=False)
    starts = np.array([start for start, _ in encoding.offsets], np.int64)
    ends = np.cumsum([len(text) for text in texts])
    # Pieces without text end where the one before ends: "right" passes over them.
    places = np.minimum(np.searchsorted(ends, starts, side="right"), len(texts) - 1)
    counts: list[int] = np.bincount(places, minlength=len(texts)).tolist()
    return counts
