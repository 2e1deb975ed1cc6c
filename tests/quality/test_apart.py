"""Two files of distributions, compared row by row as an independent float64 computation does."""

from pathlib import Path

import numpy as np
import pytest

from quantcheck import ModelError
from quantcheck.quality.apart import ROWS, apart, top_of_logits
from quantcheck.quality.divergence import LogitsWriter, save_top
from tests.quality.independent import divergences

VOCABULARY, TOKENS = 40, ROWS + 3


def logits(seed: int, vocabulary: int = VOCABULARY) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (TOKENS, vocabulary)).astype(np.float32)


def kept(path: Path, rows: np.ndarray) -> Path:
    with LogitsWriter(path) as save:
        save.append(rows)
    return path


def test_logits_give_the_full_divergence(tmp_path: Path) -> None:
    first, second = logits(0), logits(1)
    kl, same, top = apart(kept(tmp_path / "a.f32", first), kept(tmp_path / "b.f32", second))
    assert kl == pytest.approx(divergences(first, second), abs=1e-9)
    assert np.array_equal(same, first.argmax(axis=1) == second.argmax(axis=1))
    assert top is None


@pytest.mark.parametrize("server_first", [False, True])
def test_with_a_server_on_one_side_it_is_a_lower_bound(server_first: bool, tmp_path: Path) -> None:
    a, b = logits(0), logits(1)
    full = kept(tmp_path / "a.f32", a)
    save_top(tmp_path / "b.npz", [top_of_logits(b, 8)], VOCABULARY)
    first, second = (tmp_path / "b.npz", full) if server_first else (full, tmp_path / "b.npz")
    kl, same, top = apart(first, second)
    exact = divergences(b, a) if server_first else divergences(a, b)
    assert top == 8
    assert (kl <= exact + 1e-5).all()
    assert 0 < kl.mean() < exact.mean()
    assert np.array_equal(same, a.argmax(axis=1) == b.argmax(axis=1))


def test_other_vocabularies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a vocabulary of 40 tokens, the other one of 41"):
        apart(kept(tmp_path / "a.f32", logits(0)), kept(tmp_path / "b.f32", logits(0, 41)))
