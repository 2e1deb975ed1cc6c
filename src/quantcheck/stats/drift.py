"""What the machine did between the two measurements of the baseline that span a block.

A block begins with the baseline and ends with its twin (in odd blocks the reverse). Their log ratio, the later over the
earlier, is the block's drift: what it shows, every variant in between may owe to the machine.

Which blocks to leave out. The two ends differ for two reasons: the machine moved (a trend), or two engine starts of one
thing differ (noise). Noise is in the interval already, because every variant's start has it; leaving blocks out for it
costs blocks and gains nothing: with starts that differ by 3% and a margin of 2%, two blocks of three of two equal
variants would go, however many were run. So a block is invalid for a variant when its drift exceeds the variant's
effect and the margin, and is a trend: it stands out from the other blocks' drifts (three robust standard deviations),
or the drifts point one way (their t interval leaves out 0, and their mean exceeds effect and margin too). With fewer
than three drifts the two cannot be told apart, and the block goes.

Why that does not spoil the interval. With the mean of the two ends, (A + A') / 2, as the baseline, the ratio and the
drift A' - A are uncorrelated, and the sign of the drift says nothing of the ratio's error: leaving out by the size of
the drift is leaving out blind. `benchmarks/speed_verdicts.py` shows the coverage with and without.

What leaving out cannot mend: a first start of a block that is slower each time. The two ends take turns in going first,
so half of it reaches every ratio, and no interval over blocks sees it. Their mean drift does: it is a noise floor.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from quantcheck.stats.interval import t_interval

__all__ = ["OUTLIER", "invalid_blocks", "mean_by_block", "trend_floor"]

OUTLIER = 3.0
"""Standard deviations by which a block's drift stands out from the others'."""
FEWEST_DRIFTS = 3
_NORMAL_MAD = 1.4826  # the standard deviation of a normal variable over its median absolute value


def mean_by_block(loads: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Mean over loads of a log figure by block; each block over the loads that it has."""
    blocks = sorted(set().union(*loads))
    return {block: float(np.mean([load[block] for load in loads if block in load])) for block in blocks}


def invalid_blocks(drifts: Mapping[int, float], effect: float, margin: float) -> set[int]:
    """Blocks whose drift is a trend larger than the variant's `effect` and the margin.

    `drifts`: log(later / earlier) of the baseline's two measurements by block. `effect`: the variant's mean log ratio
    over all blocks. `margin` is relative: 0.05 is 5%.
    """
    limit = max(abs(effect), float(np.log1p(margin)))
    beyond = {block for block, drift in drifts.items() if abs(drift) > limit}
    if not beyond or len(drifts) < FEWEST_DRIFTS:
        return beyond
    values = np.array(list(drifts.values()))
    inner = t_interval(values)
    assert inner.low is not None
    assert inner.high is not None
    if abs(inner.estimate) > limit and not inner.low <= 0 <= inner.high:
        return beyond
    noise = OUTLIER * _NORMAL_MAD * float(np.median(np.abs(values)))
    return {block for block in beyond if abs(drifts[block]) > noise}


def trend_floor(drifts: Mapping[int, float]) -> float | None:
    """The mean drift. A difference that is not above it is not a finding. None without drifts."""
    return float(np.mean(list(drifts.values()))) if drifts else None
