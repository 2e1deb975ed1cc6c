"""What speedup fewer bytes and cheaper arithmetic should give, and from which load on they give none.

Load is taken in cycles: `batch` requests are prefilled and then decoded together, `output` steps. Of the baseline a
cycle's time is measured (`batch` x `output` tokens over the output throughput); what it takes beyond the roofline is
overhead. The prediction gives every variant the baseline's overhead, so that it says what its format alone should do;
what a measured ratio falls short of it is the variant's own (unpacking weights, slower kernels).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from quantcheck.stats.roofline import Ceiling, Shape, Weights, Work, decode_step, prefill_step

__all__ = ["MOST_STREAMS", "STEP_TOKENS", "Model", "Serving", "crossover", "overhead_s", "predicted_ratio"]

STEP_TOKENS = 2048
"""Prompt tokens that an engine takes in one step: the default of vLLM's chunked prefill and of llama.cpp."""

MOST_STREAMS = 4096
"""A crossover beyond this many requests at once is none."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A steady load: requests at once, tokens of a prompt, tokens of an answer."""

    batch: float
    prompt: float
    output: float

    @property
    def context(self) -> float:
        """Tokens that a request holds, averaged over its steps."""
        return self.prompt + self.output / 2


@dataclass(frozen=True, slots=True)
class Model:
    """One variant on `devices` that work on each of its matrices together; `ceiling` is of all of them."""

    shape: Shape
    weights: Weights
    ceiling: Ceiling
    kv_bytes: float = 2
    devices: int = 1

    def decode(self, load: Serving) -> Work:
        """One step of decoding."""
        return decode_step(self.shape, self.weights, batch=load.batch, context=load.context, kv_bytes=self.kv_bytes)

    def prefill(self, load: Serving) -> Work:
        """All prompts of a cycle, in as few steps as `STEP_TOKENS` allows."""
        work = prefill_step(self.shape, self.weights, prompt=load.prompt, prompts=load.batch, kv_bytes=self.kv_bytes)
        steps = max(1.0, load.batch * load.prompt / STEP_TOKENS)
        return work + Work(self.weights.step, 0.0) * (steps - 1)

    def prefill_s(self, load: Serving) -> float:
        """Least time for the prompts of a cycle."""
        return self.prefill(load).least_s(self.ceiling)

    def decode_s(self, load: Serving) -> float:
        """Least time for the steps of a cycle; the first token comes out of prefill."""
        return max(load.output - 1, 0) * self.decode(load).least_s(self.ceiling)

    def cycle_s(self, load: Serving) -> float:
        """Least time of a cycle."""
        return self.prefill_s(load) + self.decode_s(load)


def overhead_s(baseline: Model, load: Serving, measured_s: float) -> float:
    """Per step of a cycle: what the baseline took beyond the roofline; 0 when it was faster than the roofline."""
    return max(0.0, measured_s - baseline.cycle_s(load)) / max(load.output, 1)


def predicted_ratio(baseline: Model, variant: Model, load: Serving, overhead: float) -> float:
    """Output throughput, variant / baseline, when both have `overhead` seconds a step beside the roofline."""
    extra = overhead * max(load.output, 1)
    return (baseline.cycle_s(load) + extra) / (variant.cycle_s(load) + extra)


def crossover(
    baseline: Model, variant: Model, load: Serving, overheads: Sequence[tuple[float, float]], margin: float
) -> int | None:
    """The fewest requests at once from which on the predicted ratio stays within the margin; None: never.

    `overheads`: (batch, seconds a step) where the baseline was measured; between them overhead is interpolated, beyond
    them it stays. `margin` is relative and acts on the log scale. Looked at up to `MOST_STREAMS`.
    """
    at = sorted(overheads)
    batches, seconds = [batch for batch, _ in at] or [1.0], [second for _, second in at] or [0.0]

    def within(batch: int) -> bool:
        there = Serving(float(batch), load.prompt, load.output)
        ratio = predicted_ratio(baseline, variant, there, float(np.interp(batch, batches, seconds)))
        return abs(math.log(ratio)) <= math.log1p(margin)

    return _from_which_on(within)


def _from_which_on(holds: Callable[[int], bool]) -> int | None:
    """The least of a ladder of loads from which on `holds` is true for all; the ladder's steps are 1% or 1."""
    ladder = [1]
    while ladder[-1] < MOST_STREAMS:
        ladder.append(min(MOST_STREAMS, max(ladder[-1] + 1, round(ladder[-1] * 1.01))))
    found = None
    for batch in reversed(ladder):
        if not holds(batch):
            break
        found = batch
    return found
