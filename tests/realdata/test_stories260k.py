"""A real model on the text it was trained for: the one check that nothing of the whole path is subtly wrong.

1.296 nats per token is what llama2.c's own weights give on these stories; a permuted rope, a missing start token or
a shifted target costs a tenth of a nat and more.
"""

from pathlib import Path

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from tests.conftest import real_data
from tests.ggml.oracle import forward, log_softmax
from tests.ggml.tiny import TinyModel
from tests.realdata.stories260k import Stories, convert, read_stories

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def data() -> Path:
    return real_data("weights/stories260K/stories260K.bin").parents[2]


@pytest.fixture(scope="module")
def stories(data: Path) -> list[NDArray[np.int64]]:
    """The token ids of the first 60 stories, each cut at the model's context."""
    tokenizer = Stories(data / "weights/stories260K/tok512.bin", 512)
    texts = read_stories(data / "tinystories/tinystories_sample.txt", 60)
    return [tokenizer.encode(text)[:512] for text in texts]


def converted(data: Path, folder: Path, kind: Kind) -> TinyModel:
    return convert(data / "weights/stories260K/stories260K.bin", folder / f"{kind.name}.gguf", kind)


def mean_nll(path: Path, stories: list[NDArray[np.int64]]) -> float:
    with LlamaCppScorer(path) as scorer:
        nll = [
            -log_softmax(logits)[np.arange(len(ids) - 1), ids[1:]]
            for ids, logits in zip(stories, scorer.logits(stories), strict=True)
        ]
    return float(np.concatenate(nll).mean())


def test_nll_is_the_known_one_and_q8_0_keeps_it(data: Path, stories: list[NDArray[np.int64]], tmp_path: Path) -> None:
    assert len(stories) == 60
    whole = mean_nll(converted(data, tmp_path, Kind.F32).path, stories)
    assert whole == pytest.approx(1.296, abs=0.01)
    assert mean_nll(converted(data, tmp_path, Kind.F16).path, stories) == pytest.approx(whole, abs=0.001)
    assert mean_nll(converted(data, tmp_path, Kind.Q8_0).path, stories) == pytest.approx(whole, abs=0.01)


def test_distributions_of_a_trained_model_are_the_oracles(
    data: Path, stories: list[NDArray[np.int64]], tmp_path: Path
) -> None:
    model = converted(data, tmp_path, Kind.F32)
    with LlamaCppScorer(model.path) as scorer:
        for ids, logits in zip(stories[:5], scorer.logits(stories[:5]), strict=True):
            expected = forward(model.weights, model.shape, ids)
            p, q = log_softmax(expected), log_softmax(logits)
            assert (np.exp(p) * (p - q)).sum(axis=1).max() < 1e-4  # KL divergence in nats, token by token


def test_it_continues_a_story(data: Path, tmp_path: Path) -> None:
    tokenizer = Stories(data / "weights/stories260K/tok512.bin", 512)
    model = converted(data, tmp_path, Kind.F16)
    with LlamaCppScorer(model.path) as scorer:
        written = scorer.generate([tokenizer.encode("Once upon a time, there was a little")], 8, {1})[0]
    text = b"".join(tokenizer.pieces[token] for token in written).decode()
    assert text.startswith((" girl", " boy"))
