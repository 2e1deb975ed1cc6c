"""Tasks: every item is answered, once and greedily or in several draws, and each answer is right or wrong."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.scorer import Answerer, Seeded
from quantcheck.quality.suites import ChoiceTask, GenerationTask
from quantcheck.spec.experiment import Sampling

__all__ = ["CHUNK", "Drawing", "ItemScores", "Tokenizer", "answer_choices", "answer_generation", "items_at_once"]

IntArray = NDArray[np.integer[Any]]

CHUNK = 512
"""Answers between two words of progress; many, because a call ends with its slowest item."""


def items_at_once(chunk: int, draws: int) -> int:
    """Items that are answered in one call."""
    return max(1, chunk // draws)


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
class Drawing:
    """How answers are drawn: `of` keeps apart who answers, so that two models' draws are independent."""

    sampling: Sampling
    seed: int
    of: str

    def seeds(self, items: Sequence[str]) -> Seeded:
        """A seed for every draw of every item, an item's draws side by side; made of its id, not of its place."""
        return Seeded(self.sampling.temperature, self.sampling.top_p, [
            self._seed(item, draw) for item in items for draw in range(self.sampling.draws)
        ])

    def _seed(self, item: str, draw: int) -> int:
        text = f"{self.seed}\0{self.of}\0{draw}\0{item}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


@dataclass(frozen=True, slots=True)
class ItemScores:
    """One value an answer: item by item in the task's order, `draws` of each.

    `right` [items * draws]; `output` is the text, or the number of the choice. Fewer items than the task has, when it
    was ended early.
    """

    right: NDArray[np.bool_]
    output: list[str]
    draws: int = 1

    @property
    def items(self) -> int:
        return len(self.right) // self.draws

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


Enough = Callable[[NDArray[np.bool_]], bool]
"""Told what is right [items, draws] among the items just answered; True ends the task there."""


def _never(_: NDArray[np.bool_]) -> bool:
    return False


def answer_generation(
    scorer: Answerer, tokenizer: Tokenizer, task: GenerationTask, prompts: Sequence[IntArray],
    progress: Callable[[int], None] = lambda _: None, *,
    drawing: Drawing | None = None, enough: Enough = _never, chunk: int = CHUNK,
) -> ItemScores:
    """Let the model write one line for every prompt, or a line for each of its draws, and judge it.

    `enough` is asked after every `chunk` answers.
    """
    outputs: list[str] = []
    right: list[bool] = []
    stop = tokenizer.line_ends()
    draws = drawing.sampling.draws if drawing else 1
    size = items_at_once(chunk, draws)
    for start in range(0, len(prompts), size):
        items = task.items[start : start + size]
        seeded = drawing.seeds([item.id for item in items]) if drawing else None
        asked = [prompt for prompt in prompts[start : start + size] for _ in range(draws)]
        answers = scorer.generate(asked, task.max_tokens, stop, seeded)
        # A token may hold text and then a newline: it does not stop the model, but the line ends in it.
        texts = [tokenizer.decode(tokens).partition("\n")[0] for tokens in answers]
        judged = [task.right(items[place // draws], text) for place, text in enumerate(texts)]
        outputs += texts
        right += judged
        progress(len(outputs) // draws)
        if enough(np.array(judged, dtype=bool).reshape(-1, draws)):
            break
    return ItemScores(np.array(right, dtype=bool), outputs, draws)


def answer_choices(
    scorer: Answerer, tokenizer: Tokenizer, task: ChoiceTask, prompts: Sequence[IntArray],
    progress: Callable[[int], None] = lambda _: None, *, enough: Enough = _never, chunk: int = CHUNK,
) -> ItemScores:
    """Take for every item the choice with the greatest summed log-likelihood (lm-eval's `acc`)."""
    picked: list[int] = []
    right: list[bool] = []
    for start in range(0, len(prompts), chunk):
        items = task.items[start : start + chunk]
        pairs = [
            (prompt, tokenizer.encode(choice, bos=False))
            for item, prompt in zip(items, prompts[start : start + chunk], strict=True)
            for choice in item.data["choices"]
        ]
        sums = iter(result.logprob for result in scorer.loglikelihoods(pairs))
        chosen = [int(np.argmax([next(sums) for _ in item.data["choices"]])) for item in items]
        judged = [choice == item.data["gold"] for item, choice in zip(items, chosen, strict=True)]
        picked += chosen
        right += judged
        progress(len(picked))
        if enough(np.array(judged, dtype=bool).reshape(-1, 1)):
            break
    return ItemScores(np.array(right, dtype=bool), [str(choice) for choice in picked])
