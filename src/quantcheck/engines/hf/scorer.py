"""transformers' quality face: full logits, log-likelihoods and written text, out of a worker that holds the model."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.hf.process import Loaded, Worker
from quantcheck.engines.sampling import Temperature
from quantcheck.engines.scorer import FloatArray, IntArray, LogLikelihood, Over, Seeded, is_over
from quantcheck.errors import ModelError, SpecError

__all__ = ["TransformersScorer", "batches"]

_DEFAULT_CONTEXT = 4096
_CACHED = 4
"""Answers that are written together may hold so many times `batch_tokens`, in the cache: a step of a few takes about as
long as one of many."""


class TransformersScorer:
    """A `Scorer` over one Hugging Face folder.

    Args:
        loaded: which model, and how it is loaded.
        log: file for what the worker prints.
        batch_size: sequences that share a pass, at most.
        batch_tokens: tokens that share a pass, padding included; a longer sequence has one of its own. Answers that
            are written together may hold four times as many.
        alive: called while the worker is waited for.

    The two are the batch's shape. Another shape sums in another order and so moves the figures a little: that is the
    noise of scoring. The same calls give the same figures. `context` is the longest sequence, at first what the model
    was trained for, but not above 4,096.

    Raises `EngineUnavailable`, `ModelError` or `EngineError` with one line each; a context manager.
    """

    def __init__(self, loaded: Loaded, *, log: Path, batch_size: int = 16, batch_tokens: int = 2048,
                 alive: Callable[[], None] | None = None) -> None:
        if batch_size < 1 or batch_tokens < 1:
            raise SpecError(f"batches of {batch_size} sequences and {batch_tokens} tokens: both must be at least 1")
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
        self.folder = loaded.folder
        self._worker = Worker(loaded, name=log.stem, log=log, check=alive)
        self._worker.start()
        self.vocab_size: int = self._worker.facts["vocabulary"]
        trained = self._worker.facts["context"]
        self.trained: int | None = trained
        self.context = min(trained or _DEFAULT_CONTEXT, _DEFAULT_CONTEXT)

    def describe(self) -> dict[str, Any]:
        """Versions, settings and memory, for the record of a run; JSON values."""
        return {**self._worker.facts, "batch_size": self.batch_size, "batch_tokens": self.batch_tokens,
                "ready_s": self._worker.ready_s}

    def logits(self, sequences: Sequence[IntArray], skip: Sequence[int] | None = None) -> Iterator[FloatArray]:
        """For each sequence, in order: raw float32 logits [tokens - skip, vocabulary], as `Scorer.logits`."""
        for number, sequence in enumerate(sequences):
            self._check(f"sequence {number}", sequence, self.context)
        return self._logits(sequences, np.array(skip or [0] * len(sequences), np.int64))

    def _logits(self, sequences: Sequence[IntArray], skip: NDArray[np.int64]) -> Iterator[FloatArray]:
        for batch in self._batches(sequences, range(len(sequences))):
            arrays = _flat([sequences[place] for place in batch])
            _, found = self._worker.ask("logits", arrays={**arrays, "skip": skip[batch]})
            rows = found["logits"]
            self._whole(rows)
            # A head padded to a round size has rows for tokens that there are not.
            yield from np.split(rows[:, : self.vocab_size], np.cumsum(arrays["lengths"] - skip[batch])[:-1])

    def loglikelihoods(self, pairs: Sequence[tuple[IntArray, IntArray]]) -> list[LogLikelihood]:
        """For each (context, continuation): the summed log-probability of the continuation's tokens, in float64.

        The last token is predicted and never read, so that pairs which differ in it alone share a pass.
        """
        sequences: list[IntArray] = []
        places: dict[bytes, int] = {}
        owner: list[int] = []
        for number, (context, continuation) in enumerate(pairs):
            self._check(f"the context of pair {number}", context, self.context)
            self._check(f"the continuation of pair {number}", continuation, self.context + 1 - len(context))
            read = np.concatenate([context, continuation[:-1]]).astype(np.int32)
            key = read.tobytes()
            if key not in places:
                places[key] = len(sequences)
                sequences.append(read)
            owner.append(places[key])
        asked: dict[int, list[int]] = {}
        for pair, place in enumerate(owner):
            asked.setdefault(place, []).append(pair)
        results: dict[int, LogLikelihood] = {}
        order = sorted(range(len(sequences)), key=lambda place: (len(sequences[place]), place))
        for batch in self._batches(sequences, order):
            row = {place: number for number, place in enumerate(batch)}
            mine = [pair for place in batch for pair in asked[place]]
            counts = [len(pairs[pair][1]) for pair in mine]
            _, found = self._worker.ask("loglikelihoods", arrays={
                **_flat([sequences[place] for place in batch]),
                "owners": np.array([row[owner[pair]] for pair in mine], np.int64),
                "starts": np.array([len(pairs[pair][0]) - 1 for pair in mine], np.int64),
                "counts": np.array(counts, np.int64),
                "targets": np.concatenate([pairs[pair][1] for pair in mine]).astype(np.int32),
            })
            self._whole(found["logprobs"])
            for pair, logprob, greedy in zip(mine, found["logprobs"].tolist(), found["greedy"].tolist(), strict=True):
                results[pair] = LogLikelihood(logprob, greedy)
        return [results[pair] for pair in range(len(pairs))]

    def generate(
        self, prompts: Sequence[IntArray], max_tokens: int, stop: Collection[int], sampling: Seeded | None = None,
        over: Over | None = None,
    ) -> list[IntArray]:
        """For each prompt: the most likely token again and again, until one of `stop` (left out) or `max_tokens`.

        With `sampling` each token is drawn here, as with llama.cpp; the same seeds give the same answers. `over` may
        end an answer early.
        """
        if max_tokens < 1:
            raise SpecError(f"max_tokens is {max_tokens}: at least one token must be asked for")
        for number, prompt in enumerate(prompts):
            self._check(f"prompt {number}, with {max_tokens} tokens to write", prompt, self.context - max_tokens)
        ends = frozenset(stop)
        chooser = Temperature(sampling, max_tokens) if sampling else None
        texts: list[IntArray] = [np.empty(0, dtype=np.int32)] * len(prompts)
        order = sorted(range(len(prompts)), key=lambda place: (len(prompts[place]), place))
        lengths = [len(prompt) + max_tokens for prompt in prompts]
        for batch in batches(lengths, order, self.batch_size, _CACHED * self.batch_tokens):
            for place, written in self._write(prompts, batch, max_tokens, ends, chooser, over).items():
                texts[place] = np.array(written, dtype=np.int32)
        return texts

    def _write(
        self, prompts: Sequence[IntArray], batch: Sequence[int], max_tokens: int, ends: frozenset[int],
        chooser: Temperature | None, over: Over | None,
    ) -> dict[int, list[int]]:
        """One batch: prompts that have ended leave it."""
        written: dict[int, list[int]] = {place: [] for place in batch}
        active = list(batch)
        _, found = self._worker.ask("begin", {"greedy": chooser is None}, _flat([prompts[place] for place in batch]))
        while True:
            if chooser is None:
                chosen = found["tokens"].tolist()
            else:
                self._whole(found["logits"])
                chosen = chooser.choose(found["logits"][:, : self.vocab_size], active,
                                        [len(written[place]) for place in active])
            keep: list[int] = []
            for row, (place, token) in enumerate(zip(active, chosen, strict=True)):
                if token in ends:
                    continue
                written[place].append(token)
                if len(written[place]) < max_tokens and not is_over(written[place], over):
                    keep.append(row)
            if not keep:
                self._worker.ask("end")
                return written
            tokens = {"tokens": np.array([chosen[row] for row in keep], np.int32)}
            if len(keep) < len(active):
                tokens["keep"] = np.array(keep, np.int64)
            active = [active[row] for row in keep]
            _, found = self._worker.ask("step", arrays=tokens)

    def beside(self, other: Loaded) -> list[str]:
        """Load a second model of the same architecture; names of the modules that differ, in the model's order."""
        settings = other.model_dump(mode="json", exclude={"python", "start_timeout_s"})
        found, _ = self._worker.ask("beside", settings, timeout_s=other.start_timeout_s)
        return list(found["unlike"])

    def exchange(self, names: Sequence[str]) -> None:
        """The modules `names` change places with those of the second model; once more puts them back."""
        self._worker.ask("exchange", {"names": list(names)})

    def close(self) -> None:
        """Ends the worker; again is harmless."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batches(self, sequences: Sequence[IntArray], order: Sequence[int]) -> Iterator[list[int]]:
        """Places of sequences that share a pass, in `order`."""
        return batches([len(sequence) for sequence in sequences], order, self.batch_size, self.batch_tokens)

    def _check(self, what: str, tokens: IntArray, room: int) -> None:
        if len(tokens) == 0:
            raise SpecError(f"{what} is empty: give at least one token (the BOS token stands for no text)")
        if len(tokens) > room:
            raise SpecError(f"{what} has {len(tokens)} tokens, the context of {self.context} has room for "
                            f"{max(room, 0)}: shorten it or raise the context")
        if int(np.min(tokens)) < 0 or int(np.max(tokens)) >= self.vocab_size:
            raise ModelError(f"{what} holds a token outside the vocabulary of {self.vocab_size}: another tokenizer "
                             "made it")

    def _whole(self, values: NDArray[Any]) -> None:
        """Raises `ModelError` for what is no number: a model that overflows its dtype is not scored."""
        if not np.isfinite(values).all():
            raise ModelError(f"{self.folder}: its logits are no numbers (they overflow {self._worker.facts['dtype']}, "
                             "or the weights are damaged); give the engine another dtype, such as bfloat16")


def batches(lengths: Sequence[int], order: Sequence[int], size: int, tokens: int) -> Iterator[list[int]]:
    """Places of sequences that share a pass, in `order`: at most `size` and `tokens`, padding included."""
    batch: list[int] = []
    longest = 0
    for place in order:
        wide = max(longest, lengths[place]) * (len(batch) + 1) > tokens
        if batch and (len(batch) == size or wide):
            yield batch
            batch, longest = [], 0
        batch.append(place)
        longest = max(longest, lengths[place])
    if batch:
        yield batch


def _flat(sequences: Sequence[IntArray]) -> dict[str, NDArray[Any]]:
    return {"ids": np.concatenate(sequences).astype(np.int32),
            "lengths": np.array([len(sequence) for sequence in sequences], np.int64)}
