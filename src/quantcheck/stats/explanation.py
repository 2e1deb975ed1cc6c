"""One sentence for a measured speed ratio: which of memory, arithmetic, cache, prefill and overhead it comes from.

The roofline's prediction is compared with what was measured. If both agree, the sentence names what the prediction
rests on; if not, what the variant loses or gains besides. Agreement is a difference of logarithms of at most
`TOLERANCE` or of 30% of the prediction.
"""

import math
from dataclasses import dataclass
from typing import Literal

from quantcheck.stats.prediction import Model, Serving

__all__ = ["Cause", "Observed", "Reading", "bound_by", "explain", "explain_baseline", "explain_loads", "read_ratio"]

Cause = Literal["overhead", "memory", "compute", "cache", "prefill", "kernels"]
"""What sets the time, or (kernels) why a ratio is above its prediction."""

TOLERANCE = 0.05
PART = 0.3
SEVERAL = 1.5
"""Requests at once, on average, from which on they meet each other's prefill."""
MOST = 0.5
"""More than this share of the time, or of the bytes, is most of it."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A model at a load and what a step of decoding took there, in seconds."""

    name: str
    model: Model
    load: Serving
    step_s: float

    @property
    def bandwidth_use(self) -> float:
        """MBU of decoding: bytes a step over its time, as a share of the ceiling."""
        return self.model.decode(self.load).memory_s(self.model.ceiling) / self.step_s

    @property
    def compute_use(self) -> float:
        """MFU of decoding: FLOP a step over its time, as a share of the ceiling."""
        return self.model.decode(self.load).compute_s(self.model.ceiling) / self.step_s

    @property
    def prefill_share(self) -> float:
        """Of the least time of a cycle."""
        return self.model.prefill_s(self.load) / self.model.cycle_s(self.load)


@dataclass(frozen=True, slots=True)
class Reading:
    """Why a ratio is what it is; `clause` continues `1.27x at batch 1, `."""

    cause: Cause
    clause: str


def bound_by(observed: Observed) -> Literal["overhead", "memory", "compute", "prefill"]:
    """What sets the time of a step: overhead when neither memory nor arithmetic is used to half.

    With several requests at once a step holds the prefill of those that arrive; when that is most of the work, it is
    what sets the time.
    """
    if observed.load.batch >= SEVERAL and observed.prefill_share > MOST:
        return "prefill"
    memory, compute = observed.bandwidth_use, observed.compute_use
    if max(memory, compute) < MOST:
        return "overhead"
    return "memory" if memory >= compute else "compute"


def explain_baseline(observed: Observed) -> str:
    """The sentence for a model by itself."""
    words = {"overhead": "overhead, not weights,", "memory": "memory", "compute": "arithmetic",
             "prefill": "the prefill of other requests"}
    return (f"decode at batch {_batch(observed)} reaches {observed.bandwidth_use:.0%} of bandwidth and "
            f"{observed.compute_use:.0%} of the arithmetic rate, so {words[bound_by(observed)]} sets the time")


def read_ratio(baseline: Observed, variant: Observed, *, measured: float, predicted: float) -> Reading:
    """Why the output throughput's ratio is `measured`, when the roofline with equal overhead says `predicted`."""
    gain, promise = math.log(measured), math.log(predicted)
    allowed = max(TOLERANCE, PART * abs(promise))
    fewer = baseline.model.weights.step / variant.model.weights.step
    elsewhere = _elsewhere(baseline.model.devices, variant.model.devices)
    if promise - gain > allowed and bound_by(variant) == "prefill":
        return Reading("prefill", f"because prefill is {variant.prefill_share:.0%} of the least time, where "
                       f"{fewer:.2g}x smaller weights{elsewhere} save little, and it takes longer than its arithmetic "
                       f"at the measured ceiling (predicted: {predicted:.2f}x)")
    if promise - gain > allowed:
        uses = (f"decode reaches {variant.bandwidth_use:.0%} of bandwidth where {baseline.name} reaches "
                f"{baseline.bandwidth_use:.0%}")
        could = (f", so {fewer:.2g}x smaller weights{elsewhere} do not give the {predicted:.2f}x that they could with "
                 f"the overhead of {baseline.name}")
        return Reading("overhead", f"because {uses}: overhead, not weights, sets the time"
                       + (could if promise > TOLERANCE else f" (predicted: {predicted:.2f}x)"))
    if gain - promise > allowed:
        several = elsewhere and baseline.model.devices > 1
        exchange = f", or what its {baseline.model.devices} GPUs exchange costs it" if several else ""
        return Reading("kernels", f"more than bytes and arithmetic at the measured ceilings predict "
                       f"({predicted:.2f}x){elsewhere}, so its kernels lose less time than those of {baseline.name}"
                       + exchange)
    return _agreed(baseline, variant, predicted, fewer, elsewhere)


def _elsewhere(before: int, now: int) -> str:
    """Where a variant runs when it is not on as many GPUs as the baseline; else nothing."""
    return "" if before == now else f" on {now} GPU{'s' * (now > 1)} instead of {before}"


def _agreed(baseline: Observed, variant: Observed, predicted: float, fewer: float, elsewhere: str) -> Reading:
    """The ratio is as predicted: what the prediction rests on."""
    work, ceiling = variant.model.decode(variant.load), variant.model.ceiling
    moving, computing = work.memory_s(ceiling), work.compute_s(ceiling)
    promise = math.log(predicted)
    if elsewhere:
        return Reading("memory" if moving >= computing else "compute",
                       f"as bytes and arithmetic at the measured ceilings predict ({predicted:.2f}x) for "
                       f"{fewer:.2g}x smaller weights{elsewhere}")
    faster = ceiling.compute / baseline.model.ceiling.compute
    rate = f"at {'' if abs(math.log(faster)) <= TOLERANCE else f'{faster:.2g}x '}the rate of {baseline.name}"
    if variant.prefill_share > MOST:
        rest = f", so only the rest gains from {fewer:.2g}x smaller weights" if promise > TOLERANCE else ""
        return Reading("prefill", f"because prefill is {variant.prefill_share:.0%} of the least time, and its "
                       f"arithmetic runs {rate}{rest}")
    if promise > TOLERANCE:
        if computing > moving:
            return Reading("compute", f"because arithmetic sets the time and runs {rate}")
        share = variant.model.weights.step / work.bytes
        return Reading("memory", f"because memory sets the time, weights are {share:.0%} of the bytes of a step and "
                       f"{fewer:.2g}x smaller")
    if computing >= moving:
        return Reading("compute", f"because arithmetic, {rate}, needs {_ms(computing)} a step and reading only "
                       f"{_ms(moving)}, so {fewer:.2g}x smaller weights save nothing")
    if work.cache > MOST * work.bytes:
        return Reading("cache", f"because keys and values, the same for both, are {work.cache / work.bytes:.0%} of the "
                       f"bytes of a step, so {fewer:.2g}x smaller weights save little")
    lost = max(0.0, 1 - max(baseline.bandwidth_use, baseline.compute_use))
    return Reading("overhead", f"because overhead takes {lost:.0%} of a step of {baseline.name}, so {fewer:.2g}x "
                   "smaller weights save little")


def explain(variant: Observed, reading: Reading, measured: str) -> str:
    """The sentence for one load; `measured`: the ratio in words, `1.27x`."""
    return f"{measured} at batch {_batch(variant)}, {reading.clause}"


def explain_loads(at: list[tuple[Observed, Reading, str]]) -> str:
    """One sentence over several loads of one variant, (observed, reading, measured ratio in words): the smallest batch
    and the largest."""
    ordered = sorted(at, key=lambda item: item[0].load.batch)
    name = ordered[0][0].name
    if len(ordered) == 1:
        return f"{name}: {explain(*ordered[0])}"
    (_, first, _), (largest, last, ratio) = ordered[0], ordered[-1]
    if first.cause == last.cause:
        return f"{name}: {explain(*ordered[0])}; {ratio} at batch {_batch(largest)} for the same reason"
    return f"{name}: {explain(*ordered[0])}; {explain(*ordered[-1])}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2g} ms"


def _batch(observed: Observed) -> str:
    batch = observed.load.batch
    return f"{batch:.0f}" if abs(batch - round(batch)) < TOLERANCE * batch else f"{batch:.2g}"
