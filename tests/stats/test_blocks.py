"""Planned blocks do what the plan says, by simulation; pooling and limits against their definitions."""

import numpy as np
import pytest
from scipy import stats

from quantcheck.stats.blocks import blocks_for_margin, detectable_ratio, pooled_spread, spread_limit
from quantcheck.stats.ratio import ratio_interval
from quantcheck.stats.speed import judge_speed

TRIALS = 4_000


def share(effect: float, spread: float, blocks: int, margin: float, word: str) -> float:
    rng = np.random.default_rng(1)
    logs = rng.normal(effect, spread, (TRIALS, blocks))
    words = [judge_speed(ratio_interval(row), higher_is_better=True, margin=margin).word for row in logs]
    return words.count(word) / TRIALS


@pytest.mark.parametrize(("spread", "margin"), [(0.01, 0.02), (0.03, 0.05), (0.004, 0.02)])
def test_the_planned_blocks_settle_two_equal_variants(spread: float, margin: float) -> None:
    blocks = blocks_for_margin(spread, margin)
    assert blocks is not None
    assert share(0.0, spread, blocks, margin, "no detectable difference") >= 0.78
    if blocks > 4:  # and it is no plan for far more than that
        assert share(0.0, spread, blocks // 2, margin, "no detectable difference") < 0.7


@pytest.mark.parametrize("blocks", [3, 5, 10])
def test_the_detectable_ratio_is_found(blocks: int) -> None:
    ratio = detectable_ratio(0.02, blocks)
    assert ratio is not None
    assert 0.76 <= share(float(np.log(ratio)), 0.02, blocks, 1e-6, "faster") <= 0.92


def test_no_plan_is_said_to_be_none() -> None:
    assert blocks_for_margin(1.0, 0.001) is None
    assert detectable_ratio(0.02, 1) is None
    assert blocks_for_margin(0.0, 0.02) == 3


def test_spreads_are_pooled_within_their_samples() -> None:
    pooled = pooled_spread([[1.0, 1.2, 0.8], [5.0, 5.1], [9.0]])
    assert pooled is not None
    assert pooled == (pytest.approx(np.sqrt((0.08 + 0.005) / 3)), 3)
    assert pooled_spread([[1.0], []]) is None


def test_the_limit_of_a_spread_holds_four_times_in_five() -> None:
    assert spread_limit(1.0, 7) == pytest.approx(np.sqrt(7 / stats.chi2.ppf(0.2, 7)), rel=1e-9)
    rng = np.random.default_rng(2)
    limits = [spread_limit(float(row.std(ddof=1)), 3) for row in rng.normal(0, 0.02, (TRIALS, 4))]
    assert 0.78 <= np.mean(np.array(limits) >= 0.02) <= 0.82
