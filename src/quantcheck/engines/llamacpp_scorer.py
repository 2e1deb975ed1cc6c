"""llama.cpp's quality face: full logits, log-likelihoods and written text, in this process.

The server of the same library serves the speed measurements; this class calls its C functions directly, because
the server gives no log-probabilities of a prompt. Native code may end the process: score in a child process.
"""

import os
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from quantcheck.engines.greedy import Prompt, continue_prompts
from quantcheck.engines.packing import Branches, fill, pack_branches, pack_sequences, pack_stem, stems
from quantcheck.engines.sampling import Greedy, Temperature
from quantcheck.engines.scorer import FloatArray, IntArray, LogLikelihood, Over, Seeded, log_sum
from quantcheck.errors import SpecError
from quantcheck.ggml.library import versions
from quantcheck.ggml.model import ALL_SEQUENCES, Context, Model
from quantcheck.ggml.pool import ContextPool

__all__ = ["LlamaCppScorer", "together"]

_CACHE_BYTES = 1 << 30
"""The most that the key-value caches of `generate` may take in all; fewer prompts are in flight when one is long."""


_DEFAULT_CONTEXT = 4096

_STEM_SHARE = 8
"""A stem is evaluated anew for every job, of so many times its tokens at least: so jobs can be done side by side."""


@dataclass(frozen=True, slots=True)
class _Job:
    """Packs of groups whose contexts follow `stem`."""

    stem: IntArray
    packs: list[list[Branches]]

    @property
    def cells(self) -> int:
        """Tokens that the cache must hold."""
        return len(self.stem) + max(sum(group.tokens for group in pack) for pack in self.packs)


class LlamaCppScorer:
    """A `Scorer` over one GGUF file.

    Args:
        path: the GGUF file.
        threads: cores to use: that many contexts of one thread each (see `ggml.pool`); default all that
            this process may run on.
        context: the longest sequence; default what the model was trained for, which is also the most,
            but not above 4,096: each thread sets memory aside for that many tokens.
        batch_tokens: tokens that one context evaluates at once.
        sequences: sequences that share a step, at most 256; default an eighth of `batch_tokens`, at most 64.

    `batch_tokens` and `sequences` are the batch's shape. Another shape sums in another order and so moves the
    figures a little: that is the noise of scoring, and the noise floor scores the same model with another shape.

    Raises EngineUnavailable, ModelError or SpecError with one line each; a context manager.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        context: int | None = None,
        batch_tokens: int = 512,
        sequences: int | None = None,
    ) -> None:
        self.model = Model(path)
        self.vocab_size = self.model.vocab_size
        self.threads = threads or _cores()
        trained = self.model.context_length
        self.context = context or min(trained, _DEFAULT_CONTEXT)
        self.batch_tokens = batch_tokens
        self.sequences = sequences or together(batch_tokens)
        self._packed: ContextPool | None = None
        self._streams: ContextPool | None = None
        if self.context > trained:
            self.model.close()
            raise SpecError(f"context {self.context} is more than the {trained} tokens {path.name} was trained for")
        if self.threads < 1 or batch_tokens < 1 or not 1 <= self.sequences <= min(256, batch_tokens):
            self.model.close()
            raise SpecError(
                f"{self.threads} threads, batches of {batch_tokens} tokens, {self.sequences} sequences: threads and "
                "batch_tokens must be at least 1, sequences 1 to the smaller of 256 and batch_tokens"
            )

    def describe(self) -> dict[str, Any]:
        """Versions and settings, for the record of a run; JSON values."""
        return {
            **versions(),
            "threads": self.threads,
            "context": self.context,
            "batch_tokens": self.batch_tokens,
            "sequences": self.sequences,
            "flash_attention": True,
            "cache_type": "f16",
        }

    def logits(
        self, sequences: Sequence[IntArray], skip: Sequence[int] | None = None
    ) -> Generator[FloatArray, None, None]:
        """For each sequence, in order: raw float32 logits [tokens - skip, vocabulary], as `Scorer.logits`.

        Stop early by closing the generator. Short sequences are evaluated together, `batch_tokens` at a time.
        """
        for number, sequence in enumerate(sequences):
            self._check(f"sequence {number}", len(sequence), self.context)
        return self._logits(sequences, skip or [0] * len(sequences))

    def _logits(self, sequences: Sequence[IntArray], skip: Sequence[int]) -> Generator[FloatArray, None, None]:
        def score(context: Context, group: list[tuple[IntArray, int]]) -> list[FloatArray]:
            context.clear()
            rows = pack_sequences(*zip(*group, strict=True)).evaluate(context)
            return np.split(rows, np.cumsum([len(sequence) - less for sequence, less in group])[:-1])

        items = (((sequence, less), len(sequence), 1) for sequence, less in zip(sequences, skip, strict=True))
        groups = fill(items, self.batch_tokens, self.sequences)
        for arrays in self._pack_pool(max(map(len, sequences), default=0)).run(score, groups):
            yield from arrays

    def loglikelihoods(self, pairs: Sequence[tuple[IntArray, IntArray]]) -> list[LogLikelihood]:
        """For each (context, continuation): the summed log-probability of the continuation's tokens.

        Pairs with the same context share its evaluation, and neighbours whose contexts begin alike that of the
        beginning. The logarithm of the softmax's sum is taken in float64.
        """
        for number, (context, continuation) in enumerate(pairs):
            self._check(f"the context of pair {number}", len(context), self.context)
            # the last token of the continuation is predicted, never evaluated
            self._check(f"the continuation of pair {number}", len(continuation), self.context + 1 - len(context))
        found: list[LogLikelihood | None] = [None] * len(pairs)

        def score(context: Context, job: _Job) -> list[tuple[int, LogLikelihood]]:
            context.clear()
            if len(job.stem):
                pack_stem(job.stem).evaluate(context)
                for sequence in range(1, context.sequences):
                    context.copy(0, sequence)
            results = []
            for groups in job.packs:
                context.remove(ALL_SEQUENCES, len(job.stem))
                results += _read_branches(groups, pack_branches(groups, len(job.stem)).evaluate(context))
            return results

        jobs = list(self._jobs(pairs))
        for results in self._pack_pool(max((job.cells for job in jobs), default=0)).run(score, jobs):
            for place, result in results:
                found[place] = result
        return [result for result in found if result is not None]

    def generate(
        self, prompts: Sequence[IntArray], max_tokens: int, stop: Collection[int], sampling: Seeded | None = None,
        over: Over | None = None,
    ) -> list[IntArray]:
        """For each prompt: the most likely token again and again, until one of `stop` (left out) or `max_tokens`.

        With `sampling` each token is drawn; the same seeds give the same answers. `over` may end an answer early.
        `sequences` prompts a thread are in flight; give many at once, since a call ends with its slowest prompt.
        """
        if max_tokens < 1:
            raise SpecError(f"max_tokens is {max_tokens}: at least one token must be asked for")
        for number, prompt in enumerate(prompts):
            self._check(f"prompt {number}, with {max_tokens} tokens to write", len(prompt), self.context - max_tokens)
        if not prompts:
            return []
        ends = frozenset(stop)
        # Prompts of like length enter together: llama.cpp evaluates equally long stretches of sequences at once.
        order = sorted(range(len(prompts)), key=lambda place: (len(prompts[place]), place))
        shares = [[Prompt(place, prompts[place]) for place in order[i :: self.threads]] for i in range(self.threads)]
        pool = self._stream_pool(max(len(prompt) for prompt in prompts) + max_tokens)
        chooser = Temperature(sampling, max_tokens) if sampling else Greedy()

        def write(context: Context, share: list[Prompt]) -> list[Prompt]:
            return continue_prompts(context, share, max_tokens, ends, chooser, over)

        texts: list[IntArray] = [np.empty(0, dtype=np.int32)] * len(prompts)
        for share in pool.run(write, [share for share in shares if share]):
            for done in share:
                texts[done.place] = np.array(done.written, dtype=np.int32)
        return texts

    def close(self) -> None:
        """Frees the contexts and the model; again is harmless."""
        for pool in (self._packed, self._streams):
            if pool is not None:
                pool.close()
        self._packed = self._streams = None
        self.model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, what: str, length: int, room: int) -> None:
        if length == 0:
            raise SpecError(f"{what} is empty: give at least one token (the BOS token stands for no text)")
        if length > room:
            raise SpecError(
                f"{what} has {length} tokens, the context of {self.context} has room for {max(room, 0)}: "
                "shorten it or raise the context"
            )

    def _jobs(self, pairs: Sequence[tuple[IntArray, IntArray]]) -> Iterator[_Job]:
        """All pairs, in packs, and these in jobs whose stem is a small part of their tokens."""
        for stem, run in stems(_by_context(pairs)):
            parts = ((part, part.tokens, len(part.continuations)) for part in self._split(run))
            packs = list(fill(parts, self.batch_tokens, self.sequences))
            each = max(1, -(-_STEM_SHARE * len(stem) // self.batch_tokens))
            for start in range(0, len(packs), each):
                yield _Job(stem, packs[start : start + each])

    def _split(self, groups: Sequence[Branches]) -> Iterator[Branches]:
        """Splits groups that no pack could hold."""
        room = self._pack_room(max(len(group.context) + max(map(len, group.continuations)) for group in groups))
        for group in groups:
            branches = zip(group.continuations, group.places, strict=True)
            items = ((branch, len(branch[0]) - 1, 1) for branch in branches)
            for part in fill(items, room - len(group.context), self.sequences):
                yield Branches(group.context, [branch[0] for branch in part], [branch[1] for branch in part])

    def _pack_pool(self, length: int) -> ContextPool:
        """Contexts with one cache for all sequences of a pack, the longest of `length` tokens."""
        room = self._pack_room(length)
        if self._packed is not None and self._packed.contexts[0].length < room:
            self._packed.close()
            self._packed = None
        if self._packed is None:
            self._packed = self._pool(room, self.sequences, unified=True)
        return self._packed

    def _pack_room(self, length: int) -> int:
        """Tokens that a pack may hold: caches are no larger than what is scored needs."""
        return max(self.batch_tokens, -(-length // 256) * 256)

    def _stream_pool(self, length: int) -> ContextPool:
        """Contexts with a cache for each sequence, of at least `length` tokens."""
        if self._streams is not None and self._streams.contexts[0].length < length:
            self._streams.close()
            self._streams = None
        if self._streams is None:
            cells = -(-length // 256) * 256
            affordable = _CACHE_BYTES // (self.model.cache_bytes_per_token * cells * self.threads)
            self._streams = self._pool(cells, max(1, min(self.sequences, affordable)), unified=False)
        return self._streams

    def _pool(self, length: int, sequences: int, *, unified: bool) -> ContextPool:
        return ContextPool(
            [
                Context(
                    self.model,
                    length=length,
                    batch=self.batch_tokens,
                    sequences=sequences,
                    threads=1,
                    unified=unified,
                    flash_attention=True,
                )
                for _ in range(self.threads)
            ]
        )


def together(batch_tokens: int) -> int:
    """Sequences that share a step where nothing else is asked for."""
    return max(1, min(64, batch_tokens // 8))


def _cores() -> int:
    """The cores that this process may run on, where the system says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _by_context(pairs: Sequence[tuple[IntArray, IntArray]]) -> Iterable[Branches]:
    """Pairs with one context together, in order of first appearance."""
    groups: dict[bytes, Branches] = {}
    for place, (context, continuation) in enumerate(pairs):
        key = np.asarray(context, dtype=np.int64).tobytes()
        group = groups.setdefault(key, Branches(context, [], []))
        group.continuations.append(continuation)
        group.places.append(place)
    return groups.values()


def _read_branches(groups: Sequence[Branches], rows: FloatArray) -> list[tuple[int, LogLikelihood]]:
    """Turns the rows of `pack_branches(groups)` into (place, log-likelihood)."""
    total = log_sum(rows)
    results = []
    row = 0
    for group in groups:
        shared = row
        row += 1
        for continuation, place in zip(group.continuations, group.places, strict=True):
            more = len(continuation) - 1
            at = np.concatenate([[shared], np.arange(row, row + more)])
            row += more
            picked = rows[at, continuation]
            greedy = bool((rows[at].argmax(axis=1) == continuation).all())
            results.append((place, LogLikelihood(float((picked - total[at]).sum()), greedy)))
    return results
