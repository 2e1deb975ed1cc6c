"""Tasks: every item is answered once, greedily, and is right or wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.scorer import Scorer
from quantcheck.quality.suites import ChoiceTask, GenerationTask

__all__ = ["ItemScores", "Tokenizer", "answer_choices", "answer_generation"]

IntArray = NDArray[np.integer[Any]]

_CHUNK = 512
"""Items between two words of progress; many, because a call ends with its slowest item."""


class Tokenizer(Protocol):
    """Text to token ids and back."""

    def encode(self, text: str, *, bos: bool) -> IntArray:
        """Token ids of `text`, after the model's BOS token where `bos` and the model has one."""
        ...

    def decode(self, tokens: IntArray) -> str: ...

    def line_ends(self) -> frozenset[int]:
        """Tokens at which a one-line answer is over: end of text, and every token that begins with a newline."""
        ...


@dataclass(frozen=True, slots=True)
class ItemScores:
    """One value per item, in the task's order; `output` is the text, or the number of the choice."""

    right: NDArray[np.bool_]
    output: list[str]

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


def answer_generation(
    scorer: Scorer, tokenizer: Tokenizer, task: GenerationTask, prompts: Sequence[IntArray],
    progress: Callable[[int], None] = lambda _: None,
) -> ItemScores:
    """Let the model write one line for every prompt, and judge it."""
    outputs: list[str] = []
    stop = tokenizer.line_ends()
    for start in range(0, len(prompts), _CHUNK):
        answers = scorer.generate(prompts[start : start + _CHUNK], task.max_tokens, stop)
        # A token may hold text and then a newline: it does not stop the model, but the line ends in it.
        outputs += [tokenizer.decode(tokens).partition("\n")[0] for tokens in answers]
        progress(len(outputs))
    right = [task.right(item, output) for item, output in zip(task.items, outputs, strict=True)]
    return ItemScores(np.array(right, dtype=bool), outputs)


def answer_choices(
    scorer: Scorer, tokenizer: Tokenizer, task: ChoiceTask, prompts: Sequence[IntArray],
    progress: Callable[[int], None] = lambda _: None,
) -> ItemScores:
    """Take for every item the choice with the greatest summed log-likelihood (lm-eval's `acc`)."""
    picked: list[int] = []
    for start in range(0, len(prompts), _CHUNK):
        items = task.items[start : start + _CHUNK]
        pairs = [
            (prompt, tokenizer.encode(choice, bos=False))
            for item, prompt in zip(items, prompts[start : start + _CHUNK], strict=True)
            for choice in item.data["choices"]
        ]
        sums = iter(result.logprob for result in scorer.loglikelihoods(pairs))
        picked += [int(np.argmax([next(sums) for _ in item.data["choices"]])) for item in items]
        progress(len(picked))
    right = [choice == item.data["gold"] for item, choice in zip(task.items, picked, strict=True)]
    return ItemScores(np.array(right, dtype=bool), [str(choice) for choice in picked])
