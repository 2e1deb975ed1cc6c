"""Tasks: the greatest log-likelihood is the choice, an answer ends with its line, and each item keeps its place."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.engines.scorer import LogLikelihood, Over, Seeded
from quantcheck.ggml.model import Model
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.quality.suites import ChoiceTask, GenerationTask, Item, load_suites
from quantcheck.quality.tasks import Drawing, answer_choices, answer_generation
from quantcheck.spec.experiment import Quality, Sampling
from quantcheck.variants.artifact import Artifact
from tests.ggml.tiny import TinyModel
from tests.quality.independent import log_probabilities

Tokens = NDArray[np.integer[Any]]


class Letters:
    """One token a character; the newline ends a line."""

    def encode(self, text: str, *, bos: bool) -> Tokens:
        return np.array([*([1] if bos else []), *map(ord, text)], dtype=np.int32)

    def decode(self, tokens: Tokens) -> str:
        return "".join(map(chr, tokens.tolist()))

    def line_ends(self) -> frozenset[int]:
        return frozenset({ord("\n")})


class Scripted:
    """Answers from tables, by the prompt's text."""

    vocab_size = 128

    def __init__(self, texts: Mapping[str, str] | None = None, likelihoods: Mapping[str, float] | None = None) -> None:
        self._texts = texts or {}
        self._likelihoods = likelihoods or {}
        self.calls: list[int] = []
        self.seeds: list[int] = []

    def logits(self, sequences: Sequence[Tokens], skip: Sequence[int] | None = None) -> Iterator[NDArray[np.float32]]:
        raise NotImplementedError

    def loglikelihoods(self, pairs: Sequence[tuple[Tokens, Tokens]]) -> list[LogLikelihood]:
        self.calls.append(len(pairs))
        return [LogLikelihood(self._likelihoods[Letters().decode(np.concatenate(pair))], False) for pair in pairs]

    def generate(
        self, prompts: Sequence[Tokens], max_tokens: int, stop: Collection[int], sampling: Seeded | None = None,
        over: Over | None = None,
    ) -> list[Tokens]:
        self.calls.append(len(prompts))
        self.seeds += sampling.seeds if sampling else []
        found = []
        for prompt in prompts:
            written = list(map(ord, self._texts[Letters().decode(prompt)]))[:max_tokens]
            end = next((place for place, token in enumerate(written) if token in stop), len(written))
            found.append(np.array(written[:end], dtype=np.int32))
        return found

    def close(self) -> None: ...


def choice_task(table: list[list[float]], golds: list[int]) -> tuple[ChoiceTask, Scripted, list[Tokens]]:
    items, likelihoods = [], {}
    for number, (row, gold) in enumerate(zip(table, golds, strict=True)):
        choices = [chr(ord("a") + place) for place in range(len(row))]
        likelihoods |= {f"{number}?{choice}": value for choice, value in zip(choices, row, strict=True)}
        items.append(Item(f"i{number}", "g", f"{number}?", {"choices": choices, "gold": gold}))
    prompts = [Letters().encode(item.prompt, bos=False) for item in items]
    return ChoiceTask("t", tuple(items), "digest"), Scripted(likelihoods=likelihoods), prompts


@given(st.lists(st.lists(st.floats(-1e3, 0), min_size=2, max_size=5, unique=True), min_size=1, max_size=9), st.data())
def test_the_choice_is_the_most_likely_one(table: list[list[float]], data: st.DataObject) -> None:
    golds = [data.draw(st.integers(0, len(row) - 1)) for row in table]
    task, scorer, prompts = choice_task(table, golds)
    scores = answer_choices(scorer, Letters(), task, prompts)
    best = [row.index(max(row)) for row in table]
    assert scores.output == [str(choice) for choice in best]
    assert scores.right.tolist() == [choice == gold for choice, gold in zip(best, golds, strict=True)]
    assert scores.accuracy == pytest.approx(sum(scores.right) / len(table))


def test_items_keep_their_place_over_chunks() -> None:
    table = [[-1.0, -2.0] if number % 3 else [-2.0, -1.0, -5.0] for number in range(8)]
    task, scorer, prompts = choice_task(table, [0] * 8)
    heard: list[int] = []
    scores = answer_choices(scorer, Letters(), task, prompts, heard.append, chunk=3)
    assert scores.output == ["0" if number % 3 else "1" for number in range(8)]
    assert heard == [3, 6, 8]
    assert len(scorer.calls) == 3

    items = tuple(Item(str(number), "", f"{number}?", {"answer": str(number)}) for number in range(8))
    generation = GenerationTask("g", items, 64, lambda item, text: text == item.data["answer"], "digest")
    scorer = Scripted(texts={f"{number}?": str(number) if number != 5 else "wrong" for number in range(8)})
    heard.clear()
    answers = answer_generation(scorer, Letters(), generation, prompts_of(items), heard.append, chunk=3)
    assert answers.output == ["0", "1", "2", "3", "4", "wrong", "6", "7"]
    assert answers.right.tolist() == [number != 5 for number in range(8)]
    assert heard == [3, 6, 8]


def test_a_task_ends_where_it_is_enough_and_is_told_the_new_answers_only() -> None:
    told: list[list[list[bool]]] = []

    def enough(right: NDArray[np.bool_]) -> bool:
        told.append(right.tolist())
        return len(told) == 2

    table = [[-1.0, -2.0] if number % 3 else [-2.0, -1.0] for number in range(8)]
    task, scorer, prompts = choice_task(table, [0] * 8)
    scores = answer_choices(scorer, Letters(), task, prompts, enough=enough, chunk=3)
    assert told == [[[False], [True], [True]], [[False], [True], [True]]]
    assert (scores.items, scores.right.tolist()) == (6, [False, True, True] * 2)
    assert len(scorer.calls) == 2, "the rest is never asked"


def test_draws_lie_side_by_side_with_a_seed_of_their_own() -> None:
    items = tuple(Item(str(number), "", f"{number}?", {"answer": str(number)}) for number in range(5))
    task = GenerationTask("g", items, 8, lambda item, text: text == item.data["answer"], "digest")
    told: list[Any] = []

    def hear(right: NDArray[np.bool_]) -> bool:
        told.append(right.shape)
        return False

    def drawn(of: str, seed: int = 0, order: Sequence[Item] = items) -> tuple[Any, list[int]]:
        scorer = Scripted(texts={f"{number}?": str(number) if number != 3 else "wrong" for number in range(5)})
        drawing = Drawing(Sampling(temperature=1.0, draws=3), seed, of)
        asked = GenerationTask("g", tuple(order), 8, task.right, "digest")
        scores = answer_generation(scorer, Letters(), asked, prompts_of(order), drawing=drawing, chunk=7,
                                   enough=hear)
        return scores, scorer.seeds

    scores, seeds = drawn("b")
    assert scores.right.reshape(5, 3).tolist() == [[number != 3] * 3 for number in range(5)]
    assert (scores.items, scores.draws, scores.accuracy) == (5, 3, 0.8)
    assert told == [(2, 3), (2, 3), (1, 3)], "a chunk holds whole items"
    assert len(set(seeds)) == 15
    assert seeds == drawn("b")[1], "the same again"
    # A seed belongs to item and draw, wherever the item comes in line.
    assert drawn("b", order=items[::-1])[1] == [seed for k in range(4, -1, -1) for seed in seeds[3 * k : 3 * k + 3]]
    for other in (drawn("c")[1], drawn("b", seed=1)[1]):
        assert not set(seeds) & set(other)


def prompts_of(items: Sequence[Item]) -> list[Tokens]:
    return [Letters().encode(item.prompt, bos=False) for item in items]


def test_an_answer_is_one_line_of_bounded_length() -> None:
    judged: list[str] = []

    def right(_: Item, text: str) -> bool:
        judged.append(text)
        return text == "42"

    items = tuple(Item(name, "", name, {}) for name in ("cut", "none", "long"))
    scorer = Scripted(texts={"cut": "42\n43\n", "none": "\n42", "long": "x" * 100})
    scores = answer_generation(scorer, Letters(), GenerationTask("g", items, 10, right, "d"), prompts_of(items))
    assert scores.output == judged == ["42", "", "x" * 10]
    assert scores.right.tolist() == [True, False, False]


def test_a_model_that_never_ends_is_cut(tiny: Mapping[str, TinyModel]) -> None:
    """A random model writes on and on: its answers end at the limit, and hold no line end."""
    path = tiny["F32"].path
    with Model(path) as words, LlamaCppScorer(path, threads=1, context=64) as scorer:
        vocabulary = Vocabulary(words)
        prompts = [vocabulary.encode(text, bos=True) for text in ("a", "some", "0 1 2 3", "Q:", "x", "the")]
        items = tuple(Item(str(number), "", "", {}) for number in range(len(prompts)))
        task = GenerationTask("g", items, 12, lambda _item, text: "\n" not in text, "d")
        scores = answer_generation(scorer, vocabulary, task, prompts)
        stop = vocabulary.line_ends()
        for prompt, text in zip(prompts, scores.output, strict=True):
            # The same by hand: one token after another, from full logits.
            tokens = prompt
            while len(tokens) < len(prompt) + 12:
                best = int(next(iter(scorer.logits([tokens])))[-1].argmax())
                if best in stop:
                    break
                tokens = np.append(tokens, best)
            assert text == vocabulary.decode(tokens[len(prompt):])
        assert scores.right.all()


@pytest.fixture(scope="module")
def reference_model(ladder: Mapping[str, Artifact]) -> Iterator[tuple[LlamaCppScorer, Vocabulary]]:
    path = ladder["F16"].path
    with Model(path) as words, LlamaCppScorer(path, threads=1, context=256) as scorer:
        yield scorer, Vocabulary(words)


def suite_of(name: str, items: int) -> Any:
    return load_suites(Quality(suites=[name], items=items))[0]


def test_choices_of_the_reference_model_by_summed_log_probabilities(
    reference_model: tuple[LlamaCppScorer, Vocabulary],
) -> None:
    scorer, vocabulary = reference_model
    task = suite_of("reference/knowledge", 12)
    prompts = [vocabulary.encode(item.prompt, bos=True) for item in task.items]
    scores = answer_choices(scorer, vocabulary, task, prompts)
    for item, prompt, picked in zip(task.items, prompts, scores.output, strict=True):
        sums = []
        for choice in item.data["choices"]:
            ids = vocabulary.encode(choice, bos=False)
            rows = log_probabilities(next(iter(scorer.logits([np.concatenate([prompt, ids])]))))
            sums.append(sum(rows[len(prompt) - 1 + place, token] for place, token in enumerate(ids.tolist())))
        assert sums.index(max(sums)) == int(picked)
    assert scores.accuracy > 0.75  # the card says 85% and more; guessing gives 25%


@pytest.mark.parametrize("name", ["arithmetic", "expressions", "format"])
def test_the_reference_model_answers_in_one_line(
    reference_model: tuple[LlamaCppScorer, Vocabulary], name: str
) -> None:
    scorer, vocabulary = reference_model
    task = suite_of(f"reference/{name}", 10)
    prompts = [vocabulary.encode(item.prompt, bos=True) for item in task.items]
    scores = answer_generation(scorer, vocabulary, task, prompts)
    assert all(text.strip() and "\n" not in text for text in scores.output)
    assert scores.accuracy >= 0.5
    assert scores.right.tolist() == [task.right(item, text) for item, text in
                                     zip(task.items, scores.output, strict=True)]
