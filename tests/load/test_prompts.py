"""Prompts have their exact length, come again with their seed, and never twice."""

import numpy as np
import pytest

from quantcheck.errors import SpecError
from quantcheck.load.prompts import PromptSource, prompts_sha256, window_seed


def test_same_seed_same_prompts_in_the_same_order() -> None:
    one, two, other = PromptSource(5, 4096), PromptSource(5, 4096), PromptSource(6, 4096)
    lengths = [1, 64, 2048, 64]
    a, b = [one.draw(n) for n in lengths], [two.draw(n) for n in lengths]
    assert [len(ids) for ids in a] == lengths
    assert prompts_sha256(a) == prompts_sha256(b) != prompts_sha256([other.draw(n) for n in lengths])


def test_both_ends_of_the_vocabulary_are_left_out() -> None:
    small = np.concatenate([PromptSource(0, 272).draw(200) for _ in range(50)])
    assert (small.min(), small.max()) == (34, 237)
    large = PromptSource(0, 128_256)
    assert (large.low, large.high) == (1000, 127_256)


def test_never_the_same_twice() -> None:
    source = PromptSource(0, 16)
    drawn = {tuple(source.draw(1)) for _ in range(12)}
    assert drawn == {(k,) for k in range(2, 14)}
    with pytest.raises(SpecError, match="all prompts of that length are used up"):
        source.draw(1)


def test_a_hash_knows_order_and_borders() -> None:
    a, b = np.array([1, 2], np.int32), np.array([3], np.int32)
    hashes = {prompts_sha256([a, b]), prompts_sha256([b, a]), prompts_sha256([np.array([1, 2, 3], np.int32)])}
    assert len(hashes) == 3


def test_windows_have_seeds_of_their_own() -> None:
    seeds = {window_seed(s, w, b) for s in (0, 1) for w in ("short@c1", "short@c8") for b in range(3)}
    assert len(seeds) == 12
    assert window_seed(0, "ab", "c") != window_seed(0, "a", "bc")


def test_a_vocabulary_that_is_too_small() -> None:
    with pytest.raises(SpecError, match="too small"):
        PromptSource(0, 1)
