"""Perplexity and KL divergence against an independent float64 computation over the saved logits."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax

from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.engines.scorer import TopLogprobs
from quantcheck.errors import ModelError
from quantcheck.quality.divergence import BaselineLogits, BaselineTop, LogitsWriter
from quantcheck.quality.perplexity import TokenScores, score_windows, score_windows_top
from quantcheck.quality.windows import windows
from tests.ggml.oracle import forward
from tests.ggml.tiny import TinyModel
from tests.quality.independent import divergences, read_logits, targets_of, token_nll

Tokens = NDArray[np.integer[Any]]
VOCABULARY = 17
AGREES = 1e-4


class PrefixScorer:
    """Its logits are a function of all tokens so far and nothing else, as a language model's are."""

    vocab_size = VOCABULARY

    def __init__(self, salt: int, scale: float) -> None:
        self._salt = salt
        self._scale = scale

    def row(self, prefix: Tokens) -> NDArray[np.float32]:
        """The logits after `prefix`."""
        random = np.random.default_rng([self._salt, zlib.crc32(np.asarray(prefix, dtype="<i4").tobytes())])
        return (self._scale * random.standard_normal(VOCABULARY)).astype(np.float32)

    def logits(self, sequences: Sequence[Tokens], skip: Sequence[int] | None = None) -> Iterator[NDArray[np.float32]]:
        for tokens, less in zip(sequences, skip or [0] * len(sequences), strict=True):
            yield np.stack([self.row(tokens[: end + 1]) for end in range(less, len(tokens))])

    def loglikelihoods(self, pairs: Sequence[tuple[Tokens, Tokens]]) -> list[Any]:
        raise NotImplementedError

    def generate(self, prompts: Sequence[Tokens], max_tokens: int, stop: Any) -> list[Tokens]:
        raise NotImplementedError

    def close(self) -> None: ...


documents_of = st.lists(
    st.lists(st.integers(0, VOCABULARY - 1), min_size=0, max_size=30), min_size=1, max_size=4
).filter(lambda documents: any(len(document) > 1 for document in documents))


def expected_rows(scorer: PrefixScorer, documents: list[Tokens], context: int, stride: int) -> NDArray[np.float32]:
    """The logits that predict each token from the 2nd on, with the context that the method promises.

    Written from the definition: the first window holds `context` tokens; each later one ends `stride` further on
    (or at the document's end) and holds the `context` tokens before its end.
    """
    rows = []
    for document in documents:
        ends = [context]
        while ends[-1] < len(document):
            ends.append(ends[-1] + stride)
        for place in range(1, len(document)):
            end = min(next(end for end in ends if place < end), len(document))
            rows.append(scorer.row(document[max(0, end - context) : place]))
    return np.stack(rows)


@settings(max_examples=40, deadline=None)
@given(documents_of, st.integers(3, 12), st.integers(0, 2**32 - 1), st.floats(0.01, 40), st.data())
def test_any_logits(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[int]], context: int, salt: int, scale: float,
    data: st.DataObject,
) -> None:
    stride = data.draw(st.integers(1, context - 1))
    documents = [np.array(text, dtype=np.int32) for text in texts]
    found = list(windows(documents, context, stride))
    path = tmp_path_factory.mktemp("logits") / "l.f32"
    base, other = PrefixScorer(salt, scale), PrefixScorer(salt + 1, scale)
    with LogitsWriter(path) as save:
        first = score_windows(base, found, save=save)
    second = score_windows(other, found, baseline=BaselineLogits(path, VOCABULARY))

    targets = targets_of(documents)
    rows, other_rows = (expected_rows(scorer, documents, context, stride) for scorer in (base, other))
    np.testing.assert_array_equal(read_logits(path, VOCABULARY), rows)
    np.testing.assert_allclose(first.nll, token_nll(rows, targets), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(second.nll, token_nll(other_rows, targets), rtol=1e-9, atol=1e-12)
    assert first.kl is None
    assert first.top1 is None
    assert second.kl is not None
    assert second.top1 is not None
    np.testing.assert_allclose(second.kl, divergences(rows, other_rows), rtol=1e-7, atol=1e-12)
    assert second.top1.tolist() == [a.tolist().index(max(a)) == b.tolist().index(max(b))
                                    for a, b in zip(rows, other_rows, strict=True)]
    assert first.document.tolist() == [number for number, text in enumerate(texts) for _ in text[1:]]
    assert first.perplexity == pytest.approx(float(np.exp(token_nll(rows, targets).mean())), rel=1e-9)


def test_progress_counts_scored_tokens() -> None:
    found = list(windows([np.arange(10, dtype=np.int32), np.arange(4, dtype=np.int32)], 6, 3))
    heard: list[int] = []
    scores = score_windows(PrefixScorer(0, 1.0), found, progress=heard.append)
    assert heard == np.cumsum([window.scored for window in found]).tolist()
    assert heard[-1] == len(scores.nll) == 12


def random_documents(vocabulary: int) -> list[Tokens]:
    random = np.random.default_rng(5)
    return [random.integers(0, vocabulary, size).astype(np.int32) for size in (150, 3, 64, 65)]


@pytest.fixture(scope="module")
def scored(
    tiny: Mapping[str, TinyModel], tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Tokens], dict[str, TokenScores], dict[str, NDArray[np.float32]]]:
    """llama.cpp on two tiny models: the scores as a run gets them, and each model's saved logits."""
    folder = tmp_path_factory.mktemp("scored")
    documents = random_documents(tiny["F32"].shape.vocab)
    found = list(windows(documents, 64, 32))
    scores, saved = {}, {}
    for name, model in tiny.items():
        with LlamaCppScorer(model.path, threads=1, context=64) as scorer:
            with LogitsWriter(folder / name) as save:
                scores[name] = score_windows(scorer, found, save=save)
            saved[name] = read_logits(folder / name, scorer.vocab_size)
            if name != "F32":
                baseline = BaselineLogits(folder / "F32", scorer.vocab_size)
                scores[name] = score_windows(scorer, found, baseline=baseline)
    return documents, scores, saved


def test_llama_cpp_scores_equal_numpy_over_the_saved_logits(
    scored: tuple[list[Tokens], dict[str, TokenScores], dict[str, NDArray[np.float32]]],
) -> None:
    documents, scores, saved = scored
    targets = targets_of(documents)
    for name, rows in saved.items():
        assert len(rows) == len(targets) == len(scores[name].nll)
        assert scores[name].perplexity == pytest.approx(float(np.exp(token_nll(rows, targets).mean())), rel=AGREES)
    found = scores["Q4_0"].kl
    assert found is not None
    exact = divergences(saved["F32"], saved["Q4_0"])
    assert exact.mean() > 1e-3, "rounding to 4 bits must be visible, or the test shows nothing"
    assert found.mean() == pytest.approx(exact.mean(), rel=AGREES)
    np.testing.assert_allclose(found, exact, rtol=AGREES, atol=1e-9)


def test_llama_cpp_perplexity_equals_a_forward_pass_in_numpy(
    tiny: Mapping[str, TinyModel],
    scored: tuple[list[Tokens], dict[str, TokenScores], dict[str, NDArray[np.float32]]],
) -> None:
    documents, scores, _ = scored
    model = tiny["F32"]
    # Documents of one window each, whose every token is predicted from all before it.
    short = [number for number, document in enumerate(documents) if len(document) <= 64]
    assert len(short) == 2
    for number in short:
        document = documents[number]
        rows = forward(model.weights, model.shape, document)[:-1]
        found = scores["F32"].nll[scores["F32"].document == number]
        np.testing.assert_allclose(found, token_nll(rows, document[1:]), rtol=2e-3, atol=2e-3)


class TopOf(PrefixScorer):
    """Knows the `top_k` likeliest tokens of the same model only."""

    def __init__(self, salt: int, scale: float, top_k: int) -> None:
        super().__init__(salt, scale)
        self.top_k = top_k

    def prompt_logprobs(self, sequences: Sequence[Tokens]) -> Iterator[TopLogprobs]:
        for tokens, rows in zip(sequences, self.logits(sequences), strict=True):
            exact = log_softmax(rows[:-1].astype(np.float64), axis=1)
            ids = np.argsort(-exact, axis=1, kind="stable")[:, : self.top_k].astype(np.int32)
            yield TopLogprobs(exact[np.arange(len(exact)), tokens[1:]], ids, np.take_along_axis(exact, ids, axis=1))


@pytest.mark.parametrize("top_k", [4, VOCABULARY])
def test_likeliest_tokens_give_the_same_perplexity_and_at_most_the_divergence(tmp_path: Path, top_k: int) -> None:
    documents = [np.random.default_rng(i).integers(0, VOCABULARY, 30) for i in range(3)]
    cut = list(windows(documents, 12, 5))
    with LogitsWriter(tmp_path / "l.f32") as save:
        score_windows(PrefixScorer(1, 2.0), cut, save=save)
    full = score_windows(PrefixScorer(2, 2.0), cut, baseline=BaselineLogits(tmp_path / "l.f32", VOCABULARY))
    score_windows_top(TopOf(1, 2.0, top_k), cut, save=tmp_path / "top.npz")
    baseline = BaselineTop(tmp_path / "top.npz", VOCABULARY, top_k)
    assert baseline.count == len(full.nll)
    part = score_windows_top(TopOf(2, 2.0, top_k), cut, baseline=baseline)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.f32", "top.npz"]
    np.testing.assert_allclose(part.nll, full.nll, rtol=1e-6)
    np.testing.assert_array_equal(part.document, full.document)
    np.testing.assert_array_equal(part.top1, full.top1)
    assert (part.kl <= full.kl + 1e-5).all()
    assert part.kl_top == top_k
    if top_k == VOCABULARY:
        np.testing.assert_allclose(part.kl, full.kl, atol=1e-5)
    with pytest.raises(ModelError, match="cannot be compared"):
        BaselineTop(tmp_path / "top.npz", VOCABULARY, top_k + 1)
