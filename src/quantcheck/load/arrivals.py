"""When the requests of an open loop are sent: one seeded process, made beforehand.

Workers that take every W-th request each (request i goes to worker i mod W) send this same process together: nothing is
drawn again in a worker, so that no gap comes twice.
"""

import math

import numpy as np
from numpy.typing import NDArray

from quantcheck.errors import SpecError
from quantcheck.spec.load import Arrival

__all__ = ["due_ns", "gaps_s"]

MOST_S = 9e9
"""int64 nanoseconds end at 292 years."""


def gaps_s(arrival: Arrival, rate: float, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """float64[count]: gaps in s between arrivals, independent, of mean 1/`rate` (requests/s).

    `constant`: every gap is the mean. `poisson`: exponential gaps. `gamma`: gamma gaps of shape `burstiness` b and
    scale 1/(rate b), the definition of vLLM's `vllm bench serve --burstiness`: the gaps' coefficient of variation is
    1/sqrt(b), and b = 1 is Poisson (the very same draws). Unlike there, the sum is not stretched to count/rate
    afterwards: that would no longer be the process. Raises `SpecError` for a rate that is not a positive number.
    """
    if not (rate > 0 and math.isfinite(rate)):
        raise SpecError(f"rate: {rate:g} requests/s cannot be sent; give a number above 0")
    if arrival.process == "constant":
        return np.full(count, 1 / rate)
    if arrival.process == "poisson":
        return rng.standard_exponential(count) / rate
    return rng.standard_gamma(arrival.burstiness, count) / (rate * arrival.burstiness)


def due_ns(arrival: Arrival, rate: float, count: int, seed: int) -> NDArray[np.int64]:
    """int64[count]: intended send times in ns after the start, ascending; the first one comes after a gap, too.

    Raises `SpecError` for a rate that is not a positive number or makes the sequence longer than a clock can tell.
    """
    at_s = np.cumsum(gaps_s(arrival, rate, count, np.random.default_rng(seed)))
    if count and not at_s[-1] < MOST_S:
        raise SpecError(f"rate: {count} requests at {rate:g} requests/s take {at_s[-1]:.3g} s; give a higher rate")
    return np.rint(at_s * 1e9).astype(np.int64)
