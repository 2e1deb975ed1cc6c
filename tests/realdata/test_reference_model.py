"""The reference model on real text that it never saw: each step down the ladder costs perplexity on WikiText-2."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.ggml.model import Model
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.quality.perplexity import TokenScores, score_windows
from quantcheck.quality.windows import windows
from quantcheck.spec.experiment import Variant
from quantcheck.stats import perplexity_ratio, token_units
from quantcheck.stats.interval import Interval
from quantcheck.variants.artifact import Artifact
from quantcheck.variants.make import prepare
from tests.conftest import real_data

pytestmark = pytest.mark.realdata

LADDER = ("F16", "Q8_0", "Q4_K_M", "Q2_K")
TOKENS, CONTEXT, STRIDE = 12_000, 512, 256


@pytest.fixture(scope="module")
def text() -> str:
    return real_data("wikitext-2-raw/test.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Artifact]:
    variants = {name: Variant(scheme=f"gguf/{name}") for name in LADDER}
    return prepare("reference", variants, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def scores(text: str, ladder: Mapping[str, Artifact]) -> dict[str, TokenScores]:
    """Every token of the first part of the text, as one document, by each variant."""
    with Model(ladder["F16"].path) as model:
        tokens: NDArray[Any] = Vocabulary(model).encode(text[: 6 * TOKENS], bos=True)
    assert len(tokens) > TOKENS
    found = list(windows([tokens], CONTEXT, STRIDE, TOKENS))
    result = {}
    for name, artifact in ladder.items():
        with LlamaCppScorer(artifact.path, context=CONTEXT) as scorer:
            result[name] = score_windows(scorer, found)
    return result


def ratio(scores: Mapping[str, TokenScores], first: str, second: str) -> Interval:
    units = token_units(scores[first].document)
    assert units.kind == "segment", "one document: its segments carry the interval"
    return perplexity_ratio(scores[first].nll, scores[second].nll, units)


def test_perplexity_rises_down_the_ladder(scores: Mapping[str, TokenScores]) -> None:
    assert all(len(found.nll) == TOKENS for found in scores.values())
    for first, second in itertools.pairwise(LADDER):
        high = ratio(scores, first, second).high
        assert high is not None
        assert high > 1, f"{second} is better than {first} beyond its interval"
    low = ratio(scores, "F16", "Q2_K").low
    assert low is not None
    assert low > 1


def test_the_steps_differ_in_size_as_their_bits_do(scores: Mapping[str, TokenScores]) -> None:
    steps = [ratio(scores, "F16", name).estimate for name in LADDER[1:]]
    assert steps[0] == pytest.approx(1.0, abs=0.005)
    assert steps == sorted(steps)


def test_perplexity_is_that_of_a_small_model_on_real_text(scores: Mapping[str, TokenScores]) -> None:
    """Far better than guessing among the vocabulary, far from what large models reach; nothing is nan or inf."""
    assert all(np.isfinite(found.nll).all() for found in scores.values())
    assert 20 < scores["F16"].perplexity < 600
