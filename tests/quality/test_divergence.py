"""KL divergence and the file of baseline logits, against float64 arithmetic written another way."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import entropy

from quantcheck.engines.scorer import TopLogprobs
from quantcheck.errors import StoreError
from quantcheck.quality.divergence import BaselineLogits, LogitsWriter, kl_divergence, kl_lower_bound


def logits(seed: int, scale: float = 3.0, rows: int = 7, vocabulary: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, (rows, vocabulary)).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 30))
def test_equals_scipy_entropy(seed: int, scale: float) -> None:
    p, q = logits(seed, scale), logits(seed + 1, scale)
    kl, agree = kl_divergence(p, q)
    p64, q64 = (np.exp(x - x.max(axis=1, keepdims=True)) for x in (p.astype(np.float64), q.astype(np.float64)))
    np.testing.assert_allclose(kl, entropy(p64, q64, axis=1), rtol=1e-9, atol=1e-12)
    assert agree.tolist() == [int(a) == int(b) for a, b in zip(p.argmax(1), q.argmax(1), strict=True)]


def test_equal_distributions_are_zero_and_a_shift_changes_nothing() -> None:
    p = logits(0)
    kl, agree = kl_divergence(p, p + 5)
    assert agree.all()
    assert (kl >= 0).all()
    assert kl.max() < 1e-6


def test_great_logits_do_not_overflow() -> None:
    kl, _ = kl_divergence(logits(1) * 1e3, logits(2) * 1e3)
    assert np.isfinite(kl).all()


def test_tokens_that_one_of_the_two_cannot_write() -> None:
    gone = -np.inf
    p = np.array([[0.0, -1.0, gone], [0.0, -1.0, gone], [0.0, -1.0, 0.5]])
    q = np.array([[0.5, -1.0, gone], [0.5, -1.0, 2.0], [0.5, -1.0, gone]])
    found, _ = kl_divergence(p, q)
    expected = [entropy(np.exp(log_softmax(a)), np.exp(log_softmax(b))) for a, b in zip(p, q, strict=True)]
    np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-12)
    assert (found[2], expected[2]) == (np.inf, np.inf)


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    rows = logits(3, rows=10)
    with LogitsWriter(tmp_path / "l.f32") as save:
        save.append(rows[:4])
        save.append(rows[4:])
    back = BaselineLogits(tmp_path / "l.f32", 50)
    assert back.count == 10
    np.testing.assert_array_equal(np.concatenate([back.take(1), back.take(9)]), rows)


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="engine"), LogitsWriter(tmp_path / "l.f32") as save:
        save.append(logits(0))
        raise RuntimeError("engine")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left.*score fewer tokens"), LogitsWriter(tmp_path / "l.f32") as save:
        save.append(logits(0))
    assert list(tmp_path.iterdir()) == []


def top(rows: np.ndarray, k: int) -> TopLogprobs:
    exact = log_softmax(rows.astype(np.float64), axis=1)
    ids = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    return TopLogprobs(exact[:, 0], ids.astype(np.int32), np.take_along_axis(exact, ids, axis=1))


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 30), st.floats(0, 30), st.integers(1, 50), st.integers(1, 50))
def test_the_bound_is_never_above_the_full_divergence(seed: int, scale: float, shift: float, k: int, m: int) -> None:
    p = logits(seed, scale)
    q = p + logits(seed + 1, shift) if shift else p
    full, agree = kl_divergence(p, q)
    bound, same = kl_lower_bound(top(p, k), top(q, m), 50)
    assert (bound >= 0).all()
    assert (bound <= full * (1 + 1e-9) + 1e-9).all()
    np.testing.assert_array_equal(agree, same)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 30))
def test_the_bound_is_the_full_divergence_when_all_tokens_are_known(seed: int, scale: float) -> None:
    p, q = logits(seed, scale), logits(seed + 1, scale)
    bound, _ = kl_lower_bound(top(p, 50), top(q, 50), 50)
    np.testing.assert_allclose(bound, kl_divergence(p, q)[0], rtol=1e-9, atol=1e-9)


def test_the_bound_rises_with_what_is_known_and_is_not_idle() -> None:
    p = logits(4, 3.0, rows=200)
    q = p + logits(5, 0.5, rows=200)
    full = kl_divergence(p, q)[0].mean()
    means = [kl_lower_bound(top(p, k), top(q, k), 50)[0].mean() for k in (1, 5, 20, 50)]
    assert means == sorted(means)
    assert means[2] > 0.8 * full


def test_a_token_that_the_variant_does_not_list_is_merged() -> None:
    p, q = np.log([[0.5, 0.3, 0.15, 0.05]]), np.log([[0.2, 0.1, 0.6, 0.1]])
    bound, same = kl_lower_bound(top(p, 2), top(q, 2), 4)  # 0 and 1 against 2 and 0: only 0 is known to both
    assert bound[0] == pytest.approx(0.5 * np.log(0.5 / 0.2) + 0.5 * np.log(0.5 / 0.8))
    assert not same[0]
