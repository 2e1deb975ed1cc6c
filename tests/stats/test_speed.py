"""The word for a speed difference."""

import numpy as np
import pytest

from quantcheck.stats import Ratio, above_noise, blocks_to_settle, judge_speed, ratio_interval


def ratio(low: float, high: float, blocks: int = 5) -> Ratio:
    return Ratio(float(np.sqrt(low * high)), low, high, blocks, spread=0.03)


@pytest.mark.parametrize(
    ("low", "high", "higher", "word"),
    [
        (1.05, 1.15, True, "faster"),
        (1.05, 1.15, False, "slower"),
        (0.80, 0.90, True, "slower"),
        (0.80, 0.90, False, "faster"),
        (0.98, 1.03, True, "no detectable difference"),
        (1.01, 1.04, True, "no detectable difference"),  # a difference, but within what the user calls the same
        (0.97, 1.08, True, "inconclusive"),
        (0.90, 1.02, False, "inconclusive"),
    ],
)
def test_words(low: float, high: float, higher: bool, word: str) -> None:
    assert judge_speed(ratio(low, high), higher_is_better=higher, margin=0.05).word == word


def test_a_difference_under_the_noise_floor_is_not_a_finding() -> None:
    seen = ratio(1.06, 1.10)
    assert judge_speed(seen, higher_is_better=True, margin=0.05, floor=0.02).word == "faster"
    held = judge_speed(seen, higher_is_better=True, margin=0.05, floor=-0.12)
    assert held.word == "inconclusive"
    assert held.reason is not None
    assert "noise floor" in held.reason
    assert above_noise(0.1, None)
    assert not above_noise(0.1, 0.1)


def test_one_block_plans_nothing_and_says_what_an_interval_needs() -> None:
    verdict = judge_speed(ratio_interval(np.array([0.3])), higher_is_better=True, margin=0.05)
    assert (verdict.word, verdict.more_blocks) == ("inconclusive", None)
    assert verdict.reason == "1 block: an interval needs at least 2"


@pytest.mark.parametrize(("effect", "spread"), [(0.03, 0.04), (0.0, 0.05), (0.045, 0.02), (-0.2, 0.3)])
def test_the_blocks_it_asks_for_settle_it(effect: float, spread: float) -> None:
    more = blocks_to_settle(effect, spread, 0.05, have=3)
    assert more is not None
    for count, settled in ((3 + more, True), (3 + more - 1, False)):
        # Log ratios with exactly this mean and standard deviation.
        shape = np.arange(count) - (count - 1) / 2
        logs = effect + shape / np.std(shape, ddof=1) * spread
        verdict = judge_speed(ratio_interval(logs), higher_is_better=True, margin=0.05)
        assert (verdict.word != "inconclusive") == (settled and count > 3)


def test_hopeless_plans_are_not_made() -> None:
    assert blocks_to_settle(float(np.log1p(0.05)) / 2, 10.0, 0.05, have=3) is None


def test_same_against_same_is_rarely_called_different() -> None:
    rng = np.random.RandomState(11)
    logs = rng.normal(0.0, 0.03 * np.sqrt(2), (1_000, 3))
    words = [judge_speed(ratio_interval(row), higher_is_better=True, margin=0.05).word for row in logs]
    assert np.mean([word in ("faster", "slower") for word in words]) <= 0.06


def test_a_true_speedup_is_found() -> None:
    rng = np.random.RandomState(12)
    logs = np.log(1.3) + rng.normal(0.0, 0.03 * np.sqrt(2), (300, 5))
    words = [judge_speed(ratio_interval(row), higher_is_better=True, margin=0.05).word for row in logs]
    assert words.count("faster") == 300
