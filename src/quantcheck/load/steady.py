"""Is a series of latencies in a steady state, and how much of its beginning is warm-up?

**Warm-up: MSER-5.** The series is cut into batches of 5, and the first d batches are left out, where d <= k / 2
minimises s^2(d) / (k - d), the squared standard error of the mean of the k - d batches that are left (White 1997;
White, Cobb and Spratt 2000). It needs 50 values. Warm-up is what a run *begins* with: of those d batches only the first
are cut, up to the first one that looks like the batches that are left (within their range, widened by 5% of their
mean). Without this a server's stall in the first half of a run is cut off as "warm-up", with all that came before it,
and noise alone cuts off good requests.

**No steady state.** The textbook rule says "not steady" where the minimum is at the last d that is allowed. By itself
that is wrong both ways: of independent series of 50 values 9% have it there (AR(1) with phi = 0.8: 15%), and of ramps
of 200 values rising by 5 standard deviations of their noise only 45%, because noise moves the minimum a batch or two
before the bound. A trend is therefore asked for: the least-squares slope of 6 macro-batch means, with Student's t on
4 degrees of freedom, two-sided at 0.5%, and a rise of at least 10% of the mean. Not steady is a series with such a
trend in what is left after the cut, or with a minimum in the last fifth of what is allowed and such a trend over the
whole. Six long batches, because they are nearly independent where single latencies are not.

Share called "not steady", in 4,000 simulated series each (`tests/load/test_steady.py` repeats a part of them):

| series | n = 50 | n = 200 | n = 1,000 |
|---|---|---|---|
| independent | 0.3% | 0.2% | 0.0% |
| AR(1), phi = 0.3; 0.6 | 0.4%; 0.5% | 0.4%; 0.5% | 0.0%; 0.2% |
| AR(1), phi = 0.8; 0.9 | 1.3%; 3.7% | 0.4%; 0.8% | 0.5%; 0.4% |
| lognormal (sigma 0.5), independent; phi = 0.6 | 0.4%; 0.4% | 0.5%; 0.4% | 0.4%; 0.4% |
| queue of 16 servers, load 0.7; 0.9, already steady | 0.6%; 6.6% | 0.4%; 2.6% | 0.0%; 1.0% |
| ramp over n, of 5; 7; 10 standard deviations of the noise | 88%; 98%; 99.9% | 99.6%; 100%; 100% | 100% |
| queue of 16 servers from empty, load 1.2; 1.5; 2 | 28%; 62%; 87% | 74%; 99.6%; 100% | 98%; 100%; 100% |

A queue at 90% of capacity wanders for longer than 50 requests take; a short run of it is not steady, and said so in
some cases. An overload can be told from a queue's noise only when it lasts: give such runs hundreds of requests.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["BATCH", "LEAST", "Steadiness", "judge_steadiness", "mser"]

BATCH = 5
LEAST = 50
"""Fewest values for which MSER-5 is applied: ten batches."""

MACRO_BATCHES = 6
LEVEL = 0.005
LEAST_RISE = 0.10
NEAR_BOUND = 0.8
ALIKE = 0.05

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Steadiness:
    """What was found in a series: `steady` is None where it is too short to tell; `cut` values are warm-up."""

    steady: bool | None
    cut: int
    reason: str


def mser(values: FloatArray) -> tuple[int, int]:
    """Batches of 5 to leave out at the beginning of `values` [n] by MSER-5, and the most that were allowed.

    The values of an incomplete last batch are not looked at. Of equal minima the first is taken: a constant series
    loses nothing. Raises `ValueError` below two batches.
    """
    k = len(values) // BATCH
    if k < 2:
        raise ValueError(f"MSER-5 needs at least {2 * BATCH} values, got {len(values)}")
    means = values[: k * BATCH].reshape(k, BATCH).mean(axis=1)
    means = means - means.mean()  # sums of squares of what is left would lose their digits otherwise
    left = k - np.arange(k // 2 + 1)
    sums = np.cumsum(means[::-1])[::-1][: len(left)]
    squares = np.cumsum((means**2)[::-1])[::-1][: len(left)]
    error = np.maximum(squares - sums**2 / left, 0.0) / left.astype(np.float64) ** 2
    return int(np.argmin(error)), k // 2


def judge_steadiness(values: FloatArray) -> Steadiness:
    """The judgement on `values` [n], latencies in the order in which the load offered or ended them.

    `cut` is 0 where there is no steady state: no part of such a run is better than the others.
    """
    n = len(values)
    if n < LEAST:
        return Steadiness(None, 0, f"MSER-5 not applied: {n} requests, needs {LEAST}")
    batches, most = mser(values)
    rise = _trend(values[batches * BATCH:])
    if rise is None and batches >= NEAR_BOUND * most:
        rise = _trend(values)
    if rise is not None:
        how = "rises" if rise > 0 else "falls"
        return Steadiness(False, 0, f"no steady state: latency {how} by {abs(rise):.0%} of its mean over the window")
    if cut := _warm(values, batches) * BATCH:
        return Steadiness(True, cut, f"MSER-5 over {n} requests cuts the first {cut} as warm-up")
    return Steadiness(True, 0, f"MSER-5 over {n} requests finds no warm-up")


def _warm(values: FloatArray, batches: int) -> int:
    """How many of the first `batches` come before the first that looks like the batches after them."""
    means = values[: len(values) // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1)
    rest = means[batches:]
    room = ALIKE * abs(float(rest.mean()))
    alike = (means >= rest.min() - room) & (means <= rest.max() + room)
    return int(np.argmax(alike))  # at the latest the first of `rest` itself


def _trend(values: FloatArray) -> float | None:
    """Fitted rise over all of `values`, over their mean; None unless it is significant and at least 10%."""
    size = len(values) // MACRO_BATCHES
    means = values[len(values) - size * MACRO_BATCHES:].reshape(MACRO_BATCHES, size).mean(axis=1)
    time = np.arange(MACRO_BATCHES) - (MACRO_BATCHES - 1) / 2
    level = float(means.mean())
    slope = float(time @ (means - level) / (time @ time))
    rise = slope * MACRO_BATCHES / level if level > 0 else 0.0
    rest = means - level - slope * time
    error = float(np.sqrt(rest @ rest / (MACRO_BATCHES - 2) / (time @ time)))
    return rise if abs(rise) >= LEAST_RISE and abs(slope) > _quantile() * error else None


@cache
def _quantile() -> float:
    from scipy.special import stdtrit  # not at the top: most imports of this package never need it

    return float(stdtrit(MACRO_BATCHES - 2, 1 - LEVEL / 2))
