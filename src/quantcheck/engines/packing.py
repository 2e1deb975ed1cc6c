"""Laying several token sequences into one batch of a unified key-value cache.

A pack is evaluated in one `llama_decode` (or in slices of it, when one long sequence fills it). The choices of one
question share the tokens of their context: those belong to several sequences and are computed once. So do the questions
that begin alike, as the examples of a few-shot prompt do: their stem is computed once for several packs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.scorer import FloatArray, IntArray
from quantcheck.ggml.model import Context

__all__ = ["Branches", "Pack", "fill", "pack_branches", "pack_sequences", "pack_stem", "stems"]

Item = TypeVar("Item")

LEAST_STEM, LEAST_SAVED = 16, 256
"""Tokens that contexts must begin with in common, and that must be saved in all, for a stem to be worth a batch."""


@dataclass(frozen=True)
class Branches:
    """One context and the continuations to be scored after it; `places` are the pairs' numbers in the request."""

    context: IntArray
    continuations: list[IntArray]
    places: list[int]

    @property
    def tokens(self) -> int:
        """Tokens to evaluate: nobody asks what follows the last one of a continuation."""
        return len(self.context) + sum(len(continuation) - 1 for continuation in self.continuations)


@dataclass(frozen=True)
class Pack:
    """The arrays that `Context.decode` takes, of any length."""

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    sequences: NDArray[np.int32]
    counts: NDArray[np.int32]
    wanted: NDArray[np.bool_]

    def evaluate(self, context: Context) -> FloatArray:
        """The logits [wanted tokens, vocabulary] of the pack after what the cache holds, copied once."""
        ends = np.cumsum(self.counts)
        rows = np.empty((int(np.count_nonzero(self.wanted)), context.model.vocab_size), dtype=np.float32)
        filled = 0
        for start in range(0, len(self.tokens), context.batch):
            part = slice(start, start + context.batch)
            first = int(ends[start - 1]) if start else 0
            last = int(ends[part][-1])
            logits = context.decode(
                self.tokens[part],
                self.positions[part],
                self.sequences[first:last],
                self.wanted[part],
                self.counts[part],
            )
            rows[filled : filled + len(logits)] = logits
            filled += len(logits)
        return rows


def fill(items: Iterable[tuple[Item, int, int]], tokens: int, sequences: int) -> Iterator[list[Item]]:
    """Splits (item, its tokens, its sequences), in order, into groups that fit; one that is too large goes alone."""
    group: list[Item] = []
    used_tokens = used_sequences = 0
    for item, more_tokens, more_sequences in items:
        if group and (used_tokens + more_tokens > tokens or used_sequences + more_sequences > sequences):
            yield group
            group, used_tokens, used_sequences = [], 0, 0
        group.append(item)
        used_tokens += more_tokens
        used_sequences += more_sequences
    if group:
        yield group


def pack_sequences(sequences: Sequence[IntArray], skip: Sequence[int]) -> Pack:
    """Independent sequences, every token's logits wanted but of the first `skip` of each."""
    lengths = [len(sequence) for sequence in sequences]
    total = sum(lengths)
    return Pack(
        tokens=np.concatenate(sequences).astype(np.int32),
        positions=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        sequences=np.repeat(np.arange(len(sequences), dtype=np.int32), lengths),
        counts=np.ones(total, dtype=np.int32),
        wanted=np.concatenate([np.arange(length) >= less for length, less in zip(lengths, skip, strict=True)]),
    )


def stems(groups: Iterable[Branches]) -> Iterator[tuple[IntArray, list[Branches]]]:
    """Runs of neighbouring groups whose contexts begin alike: their stem, and the groups without it; at last, with an
    empty stem, all groups that share too little. Each context keeps one token at least, whose logits are wanted.
    """
    alone: list[Branches] = []
    for stem, run in _runs(groups):
        if len(stem) * (len(run) - 1) < LEAST_SAVED:
            alone += run
        else:
            yield stem, [replace(group, context=group.context[len(stem) :]) for group in run]
    if alone:
        yield np.empty(0, dtype=np.int32), alone


def _runs(groups: Iterable[Branches]) -> Iterator[tuple[IntArray, list[Branches]]]:
    """A run takes the next group while that saves tokens."""
    run: list[Branches] = []
    stem = np.empty(0, dtype=np.int32)
    for group in groups:
        whole = np.asarray(group.context, dtype=np.int32)
        common = _common(stem, whole) if run else len(whole) - 1
        if run and (common < LEAST_STEM or common * len(run) < len(stem) * (len(run) - 1)):
            yield stem, run
            run, common = [], len(whole) - 1
        stem = whole[:common]
        run.append(group)
    if run:
        yield stem, run


def _common(stem: IntArray, context: IntArray) -> int:
    """How many tokens of `stem` the context begins with, its last token left out."""
    most = min(len(stem), len(context) - 1)
    unlike = np.flatnonzero(stem[:most] != context[:most])
    return int(unlike[0]) if len(unlike) else most


def pack_stem(stem: IntArray) -> Pack:
    """The stem as sequence 0, of which no logits are wanted."""
    length = len(stem)
    return Pack(
        tokens=np.asarray(stem, dtype=np.int32),
        positions=np.arange(length, dtype=np.int32),
        sequences=np.zeros(length, dtype=np.int32),
        counts=np.ones(length, dtype=np.int32),
        wanted=np.zeros(length, dtype=np.bool_),
    )


def pack_branches(groups: Sequence[Branches], after: int = 0) -> Pack:
    """Contexts with their continuations; wanted is every token that predicts one of a continuation.

    `after`: tokens of the stem that all sequences hold already. For each group, in order: one row for the context's
    last token, then the rows of each continuation but its last.
    """
    tokens: list[IntArray] = []
    positions: list[NDArray[np.int32]] = []
    sequences: list[NDArray[np.int32]] = []
    counts: list[NDArray[np.int32]] = []
    wanted: list[NDArray[np.bool_]] = []
    first = 0
    for group in groups:
        length, branches = len(group.context), len(group.continuations)
        tokens.append(group.context)
        positions.append(np.arange(after, after + length, dtype=np.int32))
        sequences.append(np.tile(np.arange(first, first + branches, dtype=np.int32), length))
        counts.append(np.full(length, branches, dtype=np.int32))
        wanted.append(np.arange(length) == length - 1)
        for number, continuation in enumerate(group.continuations):
            more = len(continuation) - 1
            tokens.append(continuation[:-1])
            positions.append(np.arange(after + length, after + length + more, dtype=np.int32))
            sequences.append(np.full(more, first + number, dtype=np.int32))
            counts.append(np.ones(more, dtype=np.int32))
            wanted.append(np.ones(more, dtype=np.bool_))
        first += branches
    return Pack(
        tokens=np.concatenate(tokens).astype(np.int32),
        positions=np.concatenate(positions),
        sequences=np.concatenate(sequences),
        counts=np.concatenate(counts),
        wanted=np.concatenate(wanted),
    )
