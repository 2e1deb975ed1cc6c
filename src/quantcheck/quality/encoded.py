"""Suites as token ids, and where each of them may be cut."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.errors import ModelError
from quantcheck.quality.parts import Unit, pieces
from quantcheck.quality.scorers import BatchShape, batch_starts
from quantcheck.quality.suites import LINE_TOKENS, Continued, Corpus, GenerationTask, NamedTask, OwnSuite, Suite
from quantcheck.quality.tasks import CHUNK, Tokenizer, items_at_once
from quantcheck.quality.windows import Window, windows
from quantcheck.spec.experiment import Quality

__all__ = ["Encoded", "encode", "units"]

IntArray = NDArray[np.integer[Any]]

ITEM_TOKENS, NAMED_ITEM_TOKENS, UNKNOWN_ITEMS = 64, 512, 1000
"""About what an item costs beside its prompt, what one of lm-eval's costs, and how many of these there are."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A suite as token ids: the prompts of a task, or the windows of a corpus."""

    suite: OwnSuite
    sequences: list[IntArray]
    windows: list[Window]

    @property
    def context(self) -> int:
        """Tokens that the longest sequence and its answer take."""
        answer = 0 if isinstance(self.suite, Corpus) else getattr(self.suite, "max_tokens", LINE_TOKENS)
        return max(map(len, self.sequences)) + answer

    @property
    def sha256(self) -> str:
        """Over all token ids as little-endian int32, each sequence led by its length."""
        digest = hashlib.sha256()
        for tokens in self.sequences:
            digest.update(np.int32(len(tokens)).astype("<i4").tobytes())
            digest.update(np.asarray(tokens).astype("<i4").tobytes())
        return digest.hexdigest()


def encode(suite: OwnSuite, tokenizer: Tokenizer, quality: Quality) -> Encoded:
    """The token ids of `suite`; raises `ModelError` when its texts are too short to score."""
    if not isinstance(suite, Corpus):
        return Encoded(suite, [tokenizer.encode(item.prompt, bos=True) for item in suite.items], [])
    documents = [tokenizer.encode(document, bos=True) for document in suite.documents]
    found = list(windows(documents, quality.context, quality.stride, suite.tokens))
    if not found:
        raise ModelError(f"{suite.name}: its documents are too short to score; every one needs at least two tokens")
    return Encoded(suite, [window.tokens for window in found], found)


def units(
    suites: Iterable[Suite], quality: Quality, tokenizer: Tokenizer, shapes: Sequence[BatchShape]
) -> list[Unit]:
    """All of `suites` in pieces that are not cut, in order. `shapes`: of the batches in which any entry is scored.

    A task is cut where the next items are given to the scorer, a corpus where all batch shapes begin anew. lm-eval's
    tasks stay whole: their examples are drawn over all items.
    """
    found: list[Unit] = []
    draws = quality.sampling.draws if quality.sampling else 1
    for suite in suites:
        if isinstance(suite, NamedTask):
            items = len(suite.items) or suite.limit or UNKNOWN_ITEMS
            found.append(Unit(suite.name, 0, 1, items * NAMED_ITEM_TOKENS))
            continue
        lengths = [len(tokens) for tokens in encode(suite, tokenizer, quality).sequences]
        if isinstance(suite, Corpus):
            found += pieces(suite.name, batch_starts(lengths, shapes), lengths)
            continue
        each = suite.max_tokens if isinstance(suite, Continued) else ITEM_TOKENS
        size = items_at_once(CHUNK, draws if isinstance(suite, GenerationTask) else 1)
        found += pieces(suite.name, range(0, len(lengths), size), [length + each for length in lengths])
    return found
