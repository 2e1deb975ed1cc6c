"""Perplexity and divergence with intervals by document."""

import numpy as np
import pytest
from scipy import stats

from quantcheck.stats import (
    TokenUnits,
    judge_perplexity,
    perplexity,
    perplexity_ratio,
    ratio_of_sums,
    t_interval,
    token_mean,
    token_units,
)


def corpus(rng: np.random.RandomState, documents: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """(document of each token, nats per token): documents differ in length and in how hard they are."""
    lengths = rng.randint(20, 120, documents)
    document = np.repeat(np.arange(documents), lengths)
    return document, 2.5 + np.repeat(rng.normal(0, 0.4, documents), lengths) + rng.exponential(1.0, len(document)) - 1


def test_perplexity_is_exp_of_the_mean() -> None:
    document, nll = corpus(np.random.RandomState(1))
    units = token_units(document)
    found = perplexity(nll, units)
    assert (units.kind, units.count, found.units) == ("document", 40, 40)
    assert found.estimate == pytest.approx(np.exp(nll.mean()), rel=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.estimate < found.high


def test_ratio_of_sums_equals_the_jackknife_and_the_t_interval() -> None:
    rng = np.random.RandomState(2)
    counts = rng.randint(50, 60, 300).astype(float)
    sums = counts * rng.normal(2.0, 0.2, 300)
    found = ratio_of_sums(sums, counts)
    left_out = (sums.sum() - sums) / (counts.sum() - counts)
    jackknife = np.sqrt(299 / 300 * np.sum((left_out - left_out.mean()) ** 2))
    assert found.high is not None
    assert (found.high - found.estimate) / stats.t.ppf(0.975, 299) == pytest.approx(jackknife, rel=1e-3)
    even, plain = ratio_of_sums(sums, np.ones(300)), t_interval(sums)
    assert (even.low, even.high) == pytest.approx((plain.low, plain.high), rel=1e-12)


def test_intervals_cover_by_document_and_would_not_by_token() -> None:
    rng, hits, pretended, runs = np.random.RandomState(3), 0, 0, 2_000
    for _ in range(runs):
        document, nll = corpus(rng)
        for units in (token_units(document), TokenUnits(np.arange(len(nll)), len(nll), "document")):
            found = token_mean(nll, units)
            assert found.low is not None
            assert found.high is not None
            inside = found.low <= 2.5 <= found.high
            hits, pretended = hits + (inside and units.count == 40), pretended + (inside and units.count != 40)
    assert 0.93 <= hits / runs <= 0.97
    assert pretended / runs < 0.8


def test_pairing_takes_the_documents_out() -> None:
    rng = np.random.RandomState(4)
    document, nll = corpus(rng)
    units = token_units(document)
    worse = nll + 0.02 + rng.normal(0, 0.02, len(nll))
    ratio = perplexity_ratio(nll, worse, units)
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low < np.exp(0.02) < ratio.high
    assert ratio.high - ratio.low < 0.005
    assert ratio.estimate == pytest.approx(perplexity(worse, units).estimate / perplexity(nll, units).estimate)


def test_few_documents_are_cut_into_segments() -> None:
    units = token_units(np.zeros(2_700, dtype=np.int32))
    assert (units.kind, units.count) == ("segment", 10)
    assert np.bincount(units.member).tolist() == [256] * 9 + [256 + 140]
    short = token_units(np.zeros(300, dtype=np.int32))
    assert (short.kind, short.count) == ("document", 1)
    refused = perplexity(np.ones(300), short)
    assert (refused.low, refused.reason) == (None, "1 document: an interval needs at least 2")


@pytest.mark.parametrize(
    ("shift", "noise", "floor", "word"),
    [(0.0, 0.01, None, "safe"), (0.002, 0.01, None, "safe"), (0.03, 0.01, None, "harmed"),
     (0.008, 0.3, None, "inconclusive"), (0.03, 0.01, 0.05, "inconclusive")],
)  # fmt: skip
def test_words(shift: float, noise: float, floor: float | None, word: str) -> None:
    rng = np.random.RandomState(5)
    document, nll = corpus(rng)
    worse = nll + shift + rng.normal(0, noise, len(nll))
    found, more = judge_perplexity(nll, worse, token_units(document), margin=0.01, floor=floor)
    assert found == word
    assert (more is None) == (word != "inconclusive")


def test_bounds_are_one_sided_at_95_percent() -> None:
    rng = np.random.RandomState(9)
    document, nll = corpus(rng)
    units = token_units(document)
    worse = nll + 0.008 + rng.normal(0, 0.05, len(nll))
    upper = perplexity_ratio(nll, worse, units, level=0.90).high
    assert upper is not None
    assert judge_perplexity(nll, worse, units, margin=upper - 1 + 1e-6)[0] == "safe"
    assert judge_perplexity(nll, worse, units, margin=upper - 1 - 1e-6)[0] != "safe"


def test_identical_is_safe_and_one_document_is_open() -> None:
    document, nll = corpus(np.random.RandomState(6))
    assert judge_perplexity(nll, nll, token_units(document), margin=0.01) == ("safe", None)
    one = token_units(np.zeros(9, dtype=int))
    assert judge_perplexity(nll[:9], nll[:9], one, margin=0.01) == ("inconclusive", None)


def test_nothing_to_divide_by() -> None:
    with pytest.raises(ValueError, match="at least one cluster"):
        ratio_of_sums(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="at least one value"):
        t_interval(np.array([]))
