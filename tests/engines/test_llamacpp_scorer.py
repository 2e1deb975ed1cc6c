from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Kind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.engines.packing import Branches, stems
from quantcheck.engines.scorer import LOOK, Scorer
from quantcheck.errors import ModelError, SpecError
from tests.ggml.oracle import forward, log_softmax
from tests.ggml.tiny import TinyModel, TinyShape, random_weights, write_gguf, write_tiny

TOLERANCE = 0.03
"""On a logit, whose standard deviation is near 2: see tests/ggml/test_model.py."""

token_lists = st.lists(st.integers(0, 271), min_size=1, max_size=90).map(np.array)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return write_tiny(tmp_path_factory.mktemp("scorer") / "f32.gguf", TinyShape(), kind=Kind.F32, seed=7)


@pytest.fixture(scope="module")
def scorer(tiny: TinyModel) -> Iterator[LlamaCppScorer]:
    with LlamaCppScorer(tiny.path, threads=2) as opened:
        yield opened


def tokens(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 272, count)


def assert_greedy(tiny: TinyModel, prompt: np.ndarray, written: np.ndarray, limit: int, stop: set[int]) -> None:
    """`written` is a greedy continuation by the oracle, where its two best logits differ by more than rounding."""
    assert len(written) <= limit
    assert not stop & set(written.tolist())
    logits = forward(tiny.weights, tiny.shape, np.concatenate([prompt, written]).astype(np.int64))[len(prompt) - 1 :]
    for row, token in zip(logits, written, strict=False):
        assert row[token] > row.max() - TOLERANCE
    if len(written) < limit:
        assert max(logits[-1][token] for token in stop) > logits[-1].max() - TOLERANCE


def test_it_is_a_scorer(scorer: LlamaCppScorer) -> None:
    protocol: Scorer = scorer
    assert protocol.vocab_size == 272
    found = scorer.describe()
    assert (found["threads"], found["context"], found["batch_tokens"], found["sequences"]) == (2, 512, 512, 64)


@few
@given(sequences=st.lists(token_lists, min_size=1, max_size=12))
def test_logits_are_the_oracles_however_they_are_packed(
    tiny: TinyModel, scorer: LlamaCppScorer, sequences: list[np.ndarray]
) -> None:
    found = list(scorer.logits(sequences))
    assert [rows.shape for rows in found] == [(len(sequence), 272) for sequence in sequences]
    for sequence, rows in zip(sequences, found, strict=True):
        np.testing.assert_allclose(rows, forward(tiny.weights, tiny.shape, sequence), atol=TOLERANCE, rtol=0)


def test_rows_that_nobody_asks_for_are_left_out(scorer: LlamaCppScorer) -> None:
    texts = [tokens(length, length) for length in (3, 512, 40, 41, 1, 300)]
    skip = [2, 255, 0, 40, 0, 10]
    for less, rows, whole in zip(skip, scorer.logits(texts, skip), list(scorer.logits(texts)), strict=True):
        assert len(rows) == len(whole) - less
        np.testing.assert_allclose(rows, whole[less:], atol=TOLERANCE, rtol=0)


def test_many_sequences_of_all_lengths_come_in_order(tiny: TinyModel, scorer: LlamaCppScorer) -> None:
    lengths = [512, 1, 300, 2, 511, *range(3, 60), 512]
    sequences = [tokens(length, seed) for seed, length in enumerate(lengths)]
    for sequence, rows in zip(sequences, scorer.logits(sequences), strict=True):
        np.testing.assert_allclose(rows, forward(tiny.weights, tiny.shape, sequence), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("batch_tokens", "sequences"), [(512, 64), (64, 3), (100, None), (7, 1)])
def test_another_batch_shape_moves_figures_only_a_little(
    tiny: TinyModel, batch_tokens: int, sequences: int | None
) -> None:
    texts = [tokens(length, length) for length in (150, 3, 40, 41, 90)]
    pairs = [(text, tokens(3, seed)) for text in texts for seed in range(4)]
    with LlamaCppScorer(tiny.path, threads=1, batch_tokens=batch_tokens, sequences=sequences) as scorer:
        logits = list(scorer.logits(texts))
        sums = scorer.loglikelihoods(pairs)
        written = scorer.generate(texts, 6, {0})
    for text, rows in zip(texts, logits, strict=True):
        np.testing.assert_allclose(rows, forward(tiny.weights, tiny.shape, text), atol=TOLERANCE, rtol=0)
    for (text, more), found in zip(pairs, sums, strict=True):
        expected = log_softmax(forward(tiny.weights, tiny.shape, np.concatenate([text, more])))
        assert found.logprob == pytest.approx(expected[np.arange(len(text) - 1, len(text) + 2), more].sum(), abs=0.1)
    for text, output in zip(texts, written, strict=True):
        assert_greedy(tiny, text, output, 6, {0})


@few
@given(
    pairs=st.lists(
        st.tuples(token_lists, st.lists(st.lists(st.integers(0, 271), min_size=1, max_size=6), min_size=1, max_size=5)),
        min_size=1,
        max_size=6,
    )
)
def test_loglikelihoods_are_those_of_the_logits(
    scorer: LlamaCppScorer, pairs: list[tuple[np.ndarray, list[list[int]]]]
) -> None:
    flat = [(context, np.array(continuation)) for context, several in pairs for continuation in several]
    found = scorer.loglikelihoods(flat)
    rows = scorer.logits([np.concatenate(pair) for pair in flat])
    for (context, continuation), one, logits in zip(flat, found, rows, strict=True):
        place = np.arange(len(context) - 1, len(context) + len(continuation) - 1)
        expected = log_softmax(logits)[place, continuation]
        assert one.logprob == pytest.approx(expected.sum(), abs=2 * TOLERANCE * len(continuation))
        behind = logits[place].max(axis=1) - logits[place, continuation]
        if one.is_greedy:
            assert (behind < 2 * TOLERANCE).all()
        else:
            runner_up = logits[place].max(axis=1) - np.partition(logits[place], -2, axis=1)[:, -2]
            assert (behind > 0).any() or (runner_up < 2 * TOLERANCE).any()


def test_greedy_continuations_are_recognised(tiny: TinyModel, scorer: LlamaCppScorer) -> None:
    context = tokens(20)
    best = scorer.generate([context], 4, set())[0]
    other = best.copy()
    other[2] = (other[2] + 1) % 272
    found = scorer.loglikelihoods([(context, best), (context, other), (context, best[:1])])
    assert [one.is_greedy for one in found] == [True, False, True]
    assert found[0].logprob < found[2].logprob < 0


def test_pairs_come_back_in_their_order_when_contexts_repeat_apart(tiny: TinyModel, scorer: LlamaCppScorer) -> None:
    contexts = [tokens(10, seed) for seed in range(3)]
    pairs = [(contexts[i % 3], tokens(1 + i % 4, 100 + i)) for i in range(40)]
    together = scorer.loglikelihoods(pairs)
    for pair, one in zip(pairs, together, strict=True):
        assert scorer.loglikelihoods([pair])[0].logprob == pytest.approx(one.logprob, abs=0.1)
    assert len({round(one.logprob, 6) for one in together}) == 40


def test_questions_that_begin_alike_are_scored_as_if_alone(tiny: TinyModel, scorer: LlamaCppScorer) -> None:
    """Two few-shot prompts with many questions after each, answers of one token and of several, and other questions."""
    heads = [tokens(200, 1), tokens(90, 2)]
    contexts = [
        np.concatenate([head, tokens(5 + i % 7, 10 * i + j)]) for j, head in enumerate(heads) for i in range(30)
    ]
    contexts += [tokens(30, 900 + i) for i in range(5)] + [heads[0]]
    pairs = [(context, tokens(1 + place % 3, place)) for place, context in enumerate(contexts) for _ in range(2)]
    for (context, more), found in zip(pairs, scorer.loglikelihoods(pairs), strict=True):
        expected = log_softmax(forward(tiny.weights, tiny.shape, np.concatenate([context, more])))
        place = np.arange(len(context) - 1, len(context) + len(more) - 1)
        assert found.logprob == pytest.approx(expected[place, more].sum(), abs=2 * TOLERANCE * len(more))


@few
@given(
    heads=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    sizes=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=40),
)
def test_stems_lose_no_token_and_no_group(heads: list[int], sizes: list[tuple[int, int]]) -> None:
    starts = [tokens(length, seed) for seed, length in enumerate(heads)]
    groups = [
        Branches(np.concatenate([starts[which % len(starts)], tokens(more, 100 + place)]), [tokens(1)], [place])
        for place, (which, more) in enumerate(sizes)
    ]
    found = {group.places[0]: np.concatenate([stem, group.context]) for stem, run in stems(groups) for group in run}
    assert sorted(found) == list(range(len(groups)))
    for group in groups:
        np.testing.assert_array_equal(found[group.places[0]], group.context)
    assert all(len(group.context) for _, run in stems(groups) for group in run)


def test_a_stem_is_found_for_each_head_and_only_where_it_saves() -> None:
    heads = [tokens(100, 1), tokens(150, 2)]
    groups = [
        Branches(np.concatenate([head, tokens(9, 50 * number + place)]), [tokens(1)], [place])
        for number, head in enumerate(heads)
        for place in range(4)
    ]
    alone = [Branches(tokens(20, 900 + place), [tokens(1)], [place]) for place in range(3)]
    assert [(len(stem), len(run)) for stem, run in stems([*groups, *alone])] == [(100, 4), (150, 4), (0, 3)]
    assert [(len(stem), len(run)) for stem, run in stems(groups[:2])] == [(0, 2)]


def test_more_choices_than_a_pack_holds(tiny: TinyModel, scorer: LlamaCppScorer) -> None:
    """300 continuations of a context that nearly fills the cache: split into packs, each with the context again."""
    context = tokens(500)
    pairs = [(context, np.array([first % 272, 5, 9])) for first in range(300)]
    found = scorer.loglikelihoods(pairs)
    last = log_softmax(forward(tiny.weights, tiny.shape, context))[-1]
    firsts = scorer.loglikelihoods([(context, pair[1][:1]) for pair in pairs])
    np.testing.assert_allclose([one.logprob for one in firsts], last[np.arange(300) % 272], atol=TOLERANCE)
    assert all(one.logprob < first.logprob for one, first in zip(found, firsts, strict=True))


@few
@given(
    prompts=st.lists(token_lists, min_size=1, max_size=20),
    limit=st.integers(1, 12),
    stop=st.sets(st.integers(0, 271), min_size=1, max_size=150),
)
def test_generation_is_greedy_to_the_stop_or_the_limit(
    tiny: TinyModel, scorer: LlamaCppScorer, prompts: list[np.ndarray], limit: int, stop: set[int]
) -> None:
    for prompt, written in zip(prompts, scorer.generate(prompts, limit, stop), strict=True):
        assert_greedy(tiny, prompt, written, limit, stop)


def test_more_prompts_than_slots_flow_through(tiny: TinyModel) -> None:
    stop = set(range(0, 272, 9))
    prompts = [tokens(1 + seed * 7 % 60, seed) for seed in range(150)]
    with LlamaCppScorer(tiny.path, threads=2, sequences=8) as scorer:
        outputs = scorer.generate(prompts, 20, stop)
        again = scorer.generate(prompts, 20, stop)
    assert {len(output) for output in outputs} >= {0, 20}, "some end at once, some at the limit"
    for prompt, output, same in zip(prompts, outputs, again, strict=True):
        assert_greedy(tiny, prompt, output, 20, stop)
        np.testing.assert_array_equal(output, same)


def test_an_answer_that_is_over_ends_at_the_next_look_and_the_others_go_on(scorer: LlamaCppScorer) -> None:
    prompts = [tokens(5 + seed, seed) for seed in range(4)]
    whole = scorer.generate(prompts, 3 * LOOK + 5, set())
    end = int(whole[2][LOOK + 3])
    found = scorer.generate(prompts, 3 * LOOK + 5, set(), over=lambda written: end in written.tolist())
    for answer, same in zip(found, whole, strict=True):
        (places,) = np.nonzero(same == end)
        looks = -(-(int(places[0]) + 1) // LOOK) * LOOK if len(places) else len(same)
        np.testing.assert_array_equal(answer, same[:looks])
    assert len(found[2]) <= 2 * LOOK < len(whole[2])


def test_the_same_calls_give_the_same_bits(tiny: TinyModel) -> None:
    texts = [tokens(length, length) for length in range(1, 120)]
    pairs = [(text, tokens(4, 1)) for text in texts]
    seen = []
    for _ in range(2):
        with LlamaCppScorer(tiny.path, threads=2) as scorer:
            logits = np.concatenate(list(scorer.logits(texts)))
            written = np.concatenate(scorer.generate(texts, 5, set()))
            seen.append((logits, written, [one.logprob for one in scorer.loglikelihoods(pairs)]))
    np.testing.assert_array_equal(seen[0][0], seen[1][0])
    np.testing.assert_array_equal(seen[0][1], seen[1][1])
    assert seen[0][2] == seen[1][2]


def test_an_abandoned_iterator_does_no_harm(scorer: LlamaCppScorer) -> None:
    texts = [tokens(100, seed) for seed in range(40)]
    rows = scorer.logits(texts)
    first = next(rows)
    assert len(scorer.generate(texts[:2], 3, set())) == 2  # in the middle of the iteration
    assert len(scorer.loglikelihoods([(texts[0], texts[1])])) == 1
    rows.close()
    np.testing.assert_array_equal(next(scorer.logits(texts)), first)


def test_nothing_asked_nothing_answered(scorer: LlamaCppScorer) -> None:
    assert list(scorer.logits([])) == []
    assert scorer.loglikelihoods([]) == []
    assert scorer.generate([], 3, set()) == []


def test_the_context_may_be_filled_to_the_last_token(scorer: LlamaCppScorer) -> None:
    assert next(scorer.logits([tokens(512)])).shape == (512, 272)
    assert len(scorer.loglikelihoods([(tokens(500), tokens(13))])) == 1
    assert len(scorer.generate([tokens(502)], 10, set())[0]) == 10


def test_what_cannot_be_scored_is_one_clear_line(tiny: TinyModel, scorer: LlamaCppScorer) -> None:
    good, none, long = tokens(5), tokens(0), tokens(513)
    with pytest.raises(SpecError, match="sequence 1 is empty"):
        scorer.logits([good, none])
    with pytest.raises(SpecError, match=r"sequence 0 has 513 tokens, the context of 512 has room for 512"):
        scorer.logits([long])
    with pytest.raises(SpecError, match="the context of pair 0 is empty"):
        scorer.loglikelihoods([(none, good)])
    with pytest.raises(SpecError, match="the continuation of pair 0 is empty"):
        scorer.loglikelihoods([(good, none)])
    with pytest.raises(SpecError, match=r"the continuation of pair 0 has 14 tokens, .* room for 13"):
        scorer.loglikelihoods([(tokens(500), tokens(14))])
    with pytest.raises(SpecError, match=r"prompt 0, with 100 tokens to write has 413 tokens, .* room for 412"):
        scorer.generate([tokens(413)], 100, set())
    with pytest.raises(SpecError, match="max_tokens is 0"):
        scorer.generate([good], 0, set())
    for bad in (np.array([1, 272]), np.array([-1])):
        with pytest.raises(ModelError, match="another tokenizer's"):
            list(scorer.logits([bad]))
        with pytest.raises(ModelError, match="another tokenizer's"):
            scorer.generate([bad], 3, set())
        with pytest.raises(ModelError, match="another tokenizer's"):
            scorer.loglikelihoods([(good, bad), (bad, good)])
    assert len(list(scorer.logits([good]))) == 1, "an error leaves the scorer usable"


def test_settings_that_cannot_be_are_refused(tiny: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"context 1024 is more than the 512 tokens f32.gguf was trained for"):
        LlamaCppScorer(tiny.path, context=1024)
    with pytest.raises(SpecError, match="batches of 8 tokens, 9 sequences"):
        LlamaCppScorer(tiny.path, batch_tokens=8, sequences=9)
    with pytest.raises(ModelError, match="is not a file"):
        LlamaCppScorer(tmp_path / "nothing.gguf")


def test_damaged_weights_are_not_measured(tmp_path: Path) -> None:
    weights = random_weights(TinyShape(), 0)
    weights["blk.1.ffn_norm.weight"][3] = np.nan
    path = write_gguf(tmp_path / "nan.gguf", TinyShape(), weights, kind=Kind.F32).path
    with LlamaCppScorer(path, threads=1) as scorer:
        with pytest.raises(ModelError, match=r"nan.gguf computes logits that are not finite"):
            list(scorer.logits([tokens(5)]))
        with pytest.raises(ModelError, match="not finite"):
            scorer.loglikelihoods([(tokens(5), tokens(2))])
        with pytest.raises(ModelError, match="not finite"):
            scorer.generate([tokens(5)], 3, set())


def test_a_closed_scorer_says_so(tiny: TinyModel) -> None:
    scorer = LlamaCppScorer(tiny.path, threads=1)
    list(scorer.logits([tokens(3)]))
    scorer.close()
    scorer.close()
    with pytest.raises(ModelError, match="was closed"):
        list(scorer.logits([tokens(3)]))
