"""KL divergence and the file of baseline logits, against float64 arithmetic written another way."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from quantcheck.errors import StoreError
from quantcheck.quality.divergence import BaselineLogits, LogitsWriter, kl_divergence


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
