"""The baseline in little room: always a lower bound, up to the rounding that is told, on made-up and real models."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quantcheck import reference
from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.errors import ModelError, StoreError
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.quality import corpus as corpus_module
from quantcheck.quality import kept_top
from quantcheck.quality.corpus import is_kept, kl_kind, score_corpus
from quantcheck.quality.kept_top import KeptDivergence, KeptTop, TopWriter, kl_of_kept
from quantcheck.quality.perplexity import TokenScores
from quantcheck.quality.windows import Window, windows
from quantcheck.variants.artifact import Artifact
from tests.quality.independent import divergences

Logits = NDArray[np.float32]


def kept(path: Path, p: Logits, q: Logits, top_k: int) -> KeptDivergence:
    with TopWriter(path, len(p), p.shape[1], top_k) as save:
        for part in np.array_split(p, 3):
            save.append(part)
    back = KeptTop(path, p.shape[1])
    assert back.count == len(p)
    return kl_of_kept(back.take(len(p)), q)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 20), st.floats(1e-3, 5), st.integers(1, 60))
def test_never_above_the_full_divergence_but_for_the_rounding_that_is_told(
    tmp_path_factory: pytest.TempPathFactory, seed: int, scale: float, change: float, top_k: int
) -> None:
    rng = np.random.default_rng(seed)
    p = rng.normal(0, scale, (9, 50)).astype(np.float32)
    q = (p + rng.normal(0, change, p.shape)).astype(np.float32)
    found = kept(tmp_path_factory.getbasetemp() / "kept.npz", p, q, top_k)
    full = divergences(p, q)
    assert (found.kl - found.error <= full + 1e-12).all()
    assert found.top1.tolist() == (p.argmax(axis=1) == q.argmax(axis=1)).tolist()
    # Every row of so few is sampled: the gap is the difference itself.
    np.testing.assert_allclose(found.gaps, full - found.kl, atol=1e-9)
    if top_k >= 50:
        assert (np.abs(found.kl - full) <= found.error + 1e-12).all()


def test_tokens_that_cannot_follow_and_a_tail_of_nothing(tmp_path: Path) -> None:
    p = np.full((1, 8), -np.inf, dtype=np.float32)
    p[0, :2] = [0.0, -1.0]
    q = p.copy()
    q[0, 0] = 0.5
    found = kept(tmp_path / "kept.npz", p, q, 4)
    head = np.array([[0.0, -1.0]]), np.array([[0.5, -1.0]])
    assert found.kl[0] == pytest.approx(divergences(*head)[0], abs=found.error[0])
    assert np.isfinite(found.error).all()


def test_equal_logits_lead_as_in_argmax(tmp_path: Path) -> None:
    flat = np.zeros((2, 20), dtype=np.float32)
    flat[1, 5] = flat[1, 9] = 3.0
    assert kept(tmp_path / "kept.npz", flat, flat, 20).top1.all()


def test_a_sample_of_whole_distributions_is_spread_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_top, "SAMPLE_BYTES", 10 * 50 * 4)
    rng = np.random.default_rng(0)
    p = rng.normal(0, 1, (95, 50)).astype(np.float32)
    with TopWriter(tmp_path / "k.npz", 95, 50, 8) as save:
        for part in np.array_split(p, 7):
            save.append(part)
    back = KeptTop(tmp_path / "k.npz", 50)
    places = []
    for start, part in zip(np.cumsum([0, *map(len, np.array_split(p, 7))]), np.array_split(p, 7), strict=False):
        for at, row in back.take(len(part)).whole.items():
            np.testing.assert_array_equal(row, p[start + at])
            places.append(int(start) + at)
    assert places == list(range(0, 95, 10))


def test_a_failure_leaves_no_file_and_another_vocabulary_is_refused(tmp_path: Path) -> None:
    rows = np.zeros((3, 20), dtype=np.float32)
    with pytest.raises(RuntimeError, match="engine"), TopWriter(tmp_path / "k.npz", 3, 20) as save:
        save.append(rows)
        raise RuntimeError("engine")
    assert list(tmp_path.iterdir()) == []
    kept(tmp_path / "k.npz", rows, rows, 4)
    with pytest.raises(ModelError, match="vocabulary of 20 tokens, this variant one of 21"):
        KeptTop(tmp_path / "k.npz", 21)


Scores = dict[tuple[str, str], TokenScores]


@pytest.fixture(scope="module")
def both(ladder: Mapping[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Scores:
    """Q2_K against F16 on 600 tokens of both corpora that ship, over all tokens and over 64 kept ones."""
    folder = tmp_path_factory.mktemp("kept")
    found: Scores = {}
    ways: tuple[Literal["full", "top-k"], ...] = ("full", "top-k")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_module, "TopWriter", lambda path, total, size, **told: TopWriter(
            path, total, size, 64, **told))
        roles: tuple[tuple[str, Literal["baseline", "variant"]], ...] = (("F16", "baseline"), ("Q2_K", "variant"))
        for name, role in roles:
            with LlamaCppScorer(ladder[name].path, threads=1, context=128) as scorer:
                words = Vocabulary(scorer.model)
                for text in ("documentation", "stories"):
                    cut = list(cut_of(text, words))
                    for way in ways:
                        found[text, way] = score_corpus(
                            scorer, text, cut, folder / f"{text}-{way}.f32", role=role, model=ladder[name].path,
                            divergence=way, progress=lambda *_: None)
    assert sorted(path.suffix for path in folder.iterdir()) == [".f32", ".f32", ".npz", ".npz"]
    assert all(is_kept(folder / f"{text}-{way}.f32") for text in ("documentation", "stories") for way in ways)
    return found


def cut_of(text: str, words: Vocabulary) -> list[Window]:
    """The first 100 tokens of six documents."""
    lines = reference.corpus_path(text).read_text(encoding="utf-8").splitlines()[:6]
    return list(windows([words.encode(json.loads(line)["text"], bos=True)[:101] for line in lines], 128, 64))


@pytest.mark.parametrize("text", ["documentation", "stories"])
def test_the_bound_holds_on_every_document_of_two_corpora(both: Scores, text: str) -> None:
    full, part = both[text, "full"], both[text, "top-k"]
    assert full.kl is not None
    assert part.kl is not None
    assert part.kl_error is not None
    assert part.kl_gaps is not None
    assert (part.kl_top, full.kl_top) == (64, None)
    np.testing.assert_array_equal(part.nll, full.nll)
    np.testing.assert_array_equal(part.top1, full.top1)
    for document in np.unique(full.document):
        inside = full.document == document
        whole, bound, rounding = (float(a[inside].mean()) for a in (full.kl, part.kl, part.kl_error))
        print(f"{text} {document}: full {whole:.5f}, top 64 {bound:.5f}, gap {whole - bound:.5f}, "
              f"rounding {rounding:.1e}")
        assert 0 < bound <= whole + rounding
        assert bound > 0.5 * whole  # a bound that says little would hold, too
    np.testing.assert_allclose(part.kl_gaps, full.kl - part.kl, atol=1e-9)
    told = kl_kind(part)
    assert told["kl_gap"] == pytest.approx(float((full.kl - part.kl).mean()))
    assert told["kl_gap_tokens"] == len(full.nll)
    assert [token.token for token in part.worst[:3]] == [token.token for token in full.worst[:3]]


def test_all_logits_are_kept_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "l.f32"
    assert not is_kept(path)
    for bound, suffix in ((400, ".f32"), (399, ".npz")):
        monkeypatch.setattr(corpus_module, "FULL_BYTES", bound)
        with corpus_module._writer(path, "mine", 10, 10, None) as save:
            save.append(np.zeros((10, 10), dtype=np.float32))
        assert [file.suffix for file in tmp_path.iterdir()] == [suffix]
        assert is_kept(path)
        next(tmp_path.iterdir()).unlink()
    with pytest.raises(StoreError, match=r"logits on mine need 4.0 PB.*quality.divergence: top-k"):
        corpus_module._writer(path, "mine", 10**9, 10**6, "full")
