"""The word for a speed difference, the noise floor, and the blocks that would settle an open question."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from quantcheck.stats.distributions import t_quantile
from quantcheck.stats.ratio import Ratio

__all__ = ["MOST_BLOCKS", "SpeedVerdict", "SpeedWord", "above_noise", "blocks_to_settle", "judge_speed"]

SpeedWord = Literal["faster", "slower", "no detectable difference", "inconclusive"]

MOST_BLOCKS = 1_000
"""A plan for more blocks than this is no plan; `blocks_to_settle` then gives None."""


@dataclass(frozen=True, slots=True)
class SpeedVerdict:
    """`more_blocks` (with `inconclusive`): about how many more would settle it; None: too many to say, or no spread to
    plan with."""

    word: SpeedWord
    more_blocks: int | None = None
    reason: str | None = None


def above_noise(effect: float, floor: float | None) -> bool:
    """Whether an effect is larger than what the baseline shows against itself, in the same unit.

    `floor` is the size of the baseline-against-itself estimate (its sign does not matter); None when the
    noise floor was not measured, and then nothing is held back. This is a second condition on top of the
    interval, never a replacement: the interval already covers random variation, the floor catches what
    systematically differs between two measurements of one thing (an order effect, a warming machine).
    """
    return floor is None or abs(effect) > abs(floor)


def blocks_to_settle(effect: float, spread: float, margin: float, have: int) -> int | None:
    """How many more blocks would settle the question if effect and spread stay what they are.

    `effect` and `spread` are the mean and standard deviation of the log ratios over `have` blocks. Settled
    means that the t interval leaves out 0, or lies within +/- log(1 + margin).
    """
    limit, size = float(np.log1p(margin)), abs(effect)
    blocks = np.arange(max(have + 1, 2), MOST_BLOCKS + 1)
    half = t_quantile(0.975, blocks - 1) * spread / np.sqrt(blocks)
    settled = np.flatnonzero((half < size) | (size + half < limit))
    return int(blocks[settled[0]]) - have if len(settled) else None


def judge_speed(
    ratio: Ratio, *, higher_is_better: bool, margin: float, floor: float | None = None
) -> SpeedVerdict:
    """The verdict on a speed ratio.

    `margin` is relative (0.05: within 5% is the same speed) and acts on the log scale, so that it means the
    same for a ratio and its inverse. `floor` is the baseline's log ratio against itself. In this order:
    an interval within the margin is `no detectable difference`; one that leaves out 1 is `faster` or
    `slower`, if the estimate is above the noise floor; everything else is `inconclusive`.
    """
    if ratio.low is None or ratio.high is None or ratio.spread is None:
        return SpeedVerdict("inconclusive", None, ratio.reason)
    low, high, effect = np.log([ratio.low, ratio.high, ratio.estimate])
    limit = np.log1p(margin)
    if -limit <= low and high <= limit:
        return SpeedVerdict("no detectable difference")
    if low <= 0 <= high:
        more = blocks_to_settle(float(effect), ratio.spread, margin, ratio.blocks)
        return SpeedVerdict("inconclusive", more, "the interval holds 1 and reaches beyond the margin")
    if not above_noise(float(effect), floor):
        why = "not above the noise floor: the baseline against itself differs as much"
        return SpeedVerdict("inconclusive", None, why)
    return SpeedVerdict("faster" if (effect > 0) == higher_is_better else "slower")
