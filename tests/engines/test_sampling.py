"""Drawn tokens: their frequencies are the distribution's, and they depend on the seed alone."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.engines.sampling import Greedy, Temperature
from quantcheck.engines.scorer import Seeded
from tests.ggml.tiny import TinyShape, write_tiny

LOGITS = np.array([0.5, -1.0, 2.0, 1.5, -30.0], dtype=np.float32)
DRAWS = 20_000


def draw(temperature: float, top_p: float, logits: np.ndarray = LOGITS) -> np.ndarray:
    """How often each token came, one draw a seed."""
    chooser = Temperature(Seeded(temperature, top_p, list(range(DRAWS))), 1)
    rows = np.tile(logits, (DRAWS, 1))
    chosen = chooser.choose(rows, list(range(DRAWS)), [0] * DRAWS)
    return np.bincount(chosen, minlength=len(logits))


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) / temperature)
    return weights / weights.sum()


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 3.0])
def test_frequencies_are_those_of_the_softmax(temperature: float) -> None:
    counts, p = draw(temperature, 1.0), softmax(LOGITS, temperature)
    likely = p * DRAWS > 5
    assert counts[~likely].sum() <= 10
    expected = p[likely] / p[likely].sum() * counts[likely].sum()
    assert stats.chisquare(counts[likely], expected).pvalue > 1e-4


def test_top_p_keeps_the_fewest_likeliest_tokens_that_reach_it() -> None:
    p = softmax(LOGITS, 1.0)  # 2: .545, 3: .331, 0: .122, 1: .027
    for top_p, kept in ((0.2, [2]), (p[2] - 1e-6, [2]), (p[2] + 1e-6, [2, 3]), (0.9, [0, 2, 3]), (0.995, [0, 1, 2, 3])):
        counts = draw(1.0, float(top_p))
        assert np.flatnonzero(counts).tolist() == sorted(kept)
        expected = p[sorted(kept)] / p[kept].sum() * DRAWS
        assert len(kept) == 1 or stats.chisquare(counts[sorted(kept)], expected).pvalue > 1e-4


def test_a_draw_has_its_own_number_at_every_step() -> None:
    seeds = [11, 22, 33]
    rows = np.tile(LOGITS, (3, 1))
    chooser = Temperature(Seeded(1.0, 1.0, seeds), 40)
    whole = np.array([chooser.choose(rows, [0, 1, 2], [step] * 3) for step in range(40)])
    # The same by hand: each seed's own stream through its own inverse.
    running = np.cumsum(softmax(LOGITS, 1.0))
    for place, seed in enumerate(seeds):
        numbers = np.random.Generator(np.random.PCG64(seed)).random(40)
        assert whole[:, place].tolist() == np.searchsorted(running, numbers, side="right").tolist()
    # Who shares the step does not matter.
    assert [chooser.choose(rows[:1], [1], [step])[0] for step in range(40)] == whole[:, 1].tolist()


def test_the_greedy_choice_takes_the_first_of_equals() -> None:
    assert Greedy().choose(np.array([[0, 3, 3], [1, 0, 0]], dtype=np.float32), [0, 1], [0, 0]) == [1, 0]


def test_huge_and_equal_logits_are_drawn_from_too() -> None:
    assert draw(0.01, 1.0, np.array([900.0, -900.0], dtype=np.float32)).tolist() == [DRAWS, 0]
    counts = draw(1.0, 0.75, np.zeros(4, dtype=np.float32))
    assert counts[3] == 0
    assert counts[:3].min() > DRAWS / 3 * 0.9


def test_answers_depend_on_the_seeds_and_on_nothing_else(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "tiny.gguf", TinyShape()).path
    with LlamaCppScorer(path, threads=2, context=64) as scorer:
        prompts = [np.arange(1, 3 + number % 5, dtype=np.int32) for number in range(40)]
        seeds = list(range(100, 140))
        first = scorer.generate(prompts, 12, {2}, Seeded(1.0, 1.0, seeds))
        again = scorer.generate(prompts, 12, {2}, Seeded(1.0, 1.0, seeds))
        others = scorer.generate(prompts, 12, {2}, Seeded(1.0, 1.0, [seed + 1 for seed in seeds]))
        greedy = scorer.generate(prompts, 12, {2})
        cold = scorer.generate(prompts, 12, {2}, Seeded(1e-4, 1.0, seeds))
        one, other = scorer.generate(prompts[:1] * 2, 12, {2}, Seeded(1.0, 1.0, [5, 6]))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert sum(np.array_equal(a, b) for a, b in zip(first, others, strict=True)) < 10
    assert sum(np.array_equal(a, b) for a, b in zip(first, greedy, strict=True)) < 10
    assert all(np.array_equal(a, b) for a, b in zip(cold, greedy, strict=True)), "a cold draw is the greedy answer"
    assert not np.array_equal(one, other), "two draws of one prompt"
