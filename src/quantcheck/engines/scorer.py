"""The quality face of an engine: token ids in, logits or log-probabilities, log-likelihoods and continuations out.

An engine in this process gives full logits (`Scorer`); a server gives the log-probabilities of the likeliest tokens
(`TopScorer`). What tasks need, both offer (`Answerer`).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOOK", "TOP_K", "Answerer", "FloatArray", "IntArray", "LogLikelihood", "Over", "Scorer", "Seeded",
           "TopLogprobs", "TopScorer", "is_over", "log_sum"]

TOP_K = 64
"""Likeliest tokens of each place that a server which was started here is asked for."""

LOOK = 16
"""Tokens of an answer between two questions whether it is over."""

IntArray = NDArray[np.integer[Any]]
"""Token ids of one sequence, [tokens]."""
FloatArray = NDArray[np.float32]
Over = Callable[[IntArray], bool]
"""Whether an answer, given its tokens so far, is over: its end may be a text that no single token is. Called from the
threads that write."""


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """What a model thinks of one continuation of a context.

    `logprob` is the sum of the natural log-probabilities of its tokens; `is_greedy` says whether each of them was
    the most likely one at its place.
    """

    logprob: float
    is_greedy: bool


@dataclass(frozen=True, slots=True)
class Seeded:
    """Draw answers: one of `seeds` (64 bits) a prompt; `temperature` above 0, `top_p` above 0 and at most 1.

    `top_p`: only the likeliest tokens that together hold this probability are drawn from (Holtzman et al. 2020,
    arXiv:1904.09751), after the temperature.
    """

    temperature: float
    top_p: float
    seeds: Sequence[int]


@dataclass(frozen=True, slots=True)
class TopLogprobs:
    """What a model expected at the tokens of one sequence but its first: row i is about token i + 1.

    Natural logarithms over the full vocabulary. `own` [tokens - 1]: of the sequence's own token. `ids` and `logprobs`
    [tokens - 1, k]: of the k likeliest tokens, the likeliest first.
    """

    own: NDArray[np.float64]
    ids: NDArray[np.int32]
    logprobs: NDArray[np.float64]


class Answerer(Protocol):
    """Answers tasks with one model; the caller's tokenizer makes the token ids, the same for all variants.

    All methods raise SpecError for an empty sequence or one that does not fit the context, ModelError for a token
    outside the vocabulary, EngineError when the engine fails.
    """

    vocab_size: int

    def loglikelihoods(self, pairs: Sequence[tuple[IntArray, IntArray]]) -> list[LogLikelihood]:
        """For each (context, continuation), neither of them empty: the continuation's log-likelihood."""
        ...

    def generate(
        self, prompts: Sequence[IntArray], max_tokens: int, stop: Collection[int], sampling: Seeded | None = None,
        over: Over | None = None,
    ) -> list[IntArray]:
        """For each prompt: the most likely token again and again, until one of `stop` (left out) or `max_tokens`.

        With `sampling` each token is drawn instead; it holds a seed for every prompt. `over` is asked now and then, and
        ends an answer early; what was written beyond its end stays. It is not given together with `sampling`.
        """
        ...

    def close(self) -> None:
        """Frees the model; again is harmless."""
        ...


class Scorer(Answerer, Protocol):
    """Gives full logits. The same calls give the same figures, bit for bit, on one machine with one setting."""

    def logits(self, sequences: Sequence[IntArray], skip: Sequence[int] | None = None) -> Iterator[FloatArray]:
        """For each sequence, in order: raw float32 logits [tokens, vocabulary]; row i predicts token i + 1.

        `skip`: of each sequence, how many rows at its beginning nobody asks for, fewer than it has tokens; they are
        left out: [tokens - skip, vocabulary].
        """
        ...


@runtime_checkable
class TopScorer(Answerer, Protocol):
    """Gives the `top_k` likeliest tokens of each place; figures may differ in rounding from call to call."""

    top_k: int

    def prompt_logprobs(self, sequences: Sequence[IntArray]) -> Iterator[TopLogprobs]:
        """For each sequence of at least two tokens, in order: the log-probabilities of its tokens."""
        ...


def is_over(written: list[int], over: Over | None) -> bool:
    """Whether the answer ends here; asked after each of its tokens, it looks at every `LOOK`th."""
    return over is not None and len(written) % LOOK == 0 and over(np.array(written, dtype=np.int32))


def log_sum(logits: FloatArray) -> NDArray[np.float64]:
    """The logarithm of the softmax's denominator of each row [rows, vocabulary], in float64.

    The same as scipy's `logsumexp` to 1e-14, in a third of its time: finite numbers need none of its cases.
    """
    top = logits.max(axis=1).astype(np.float64)
    parts = np.subtract(logits, top[:, None], dtype=np.float64)
    np.exp(parts, out=parts)
    return np.asarray(top + np.log(parts.sum(axis=1)))
