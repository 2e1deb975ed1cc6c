"""What an experiment can show at its planned size, and what size its margins take."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantcheck.quality.suites import Corpus, JudgedSuite
from quantcheck.runner.pilot import Pilot, Scatter
from quantcheck.runner.plan import Plan, QualityStep
from quantcheck.stats import items_for_noninferiority, minimum_detectable_difference
from quantcheck.stats.blocks import blocks_for_margin, detectable_ratio, spread_limit
from quantcheck.stats.distributions import normal_quantile
from quantcheck.stats.sequential import expected_stop

__all__ = ["CorpusPower", "LoadPower", "Power", "TaskPower", "power_of"]

ALPHA, POWER = 0.05, 0.8
ALL_LOADS = "all loads"


@dataclass(frozen=True, slots=True)
class TaskPower:
    """`detectable`: smallest change found (two-sided 5%); `needed`: items for `safe` when nothing is lost, at 5% over
    all tasks together (Holm's first step). Both with 80% power; fractions. `early`: items that a variant without a loss
    about answers under `stop: early` (the median); None without it."""

    task: str
    items: int
    psi: float
    basis: str
    variant: str | None
    detectable: float
    margin: float
    needed: int
    early: int | None


@dataclass(frozen=True, slots=True)
class CorpusPower:
    """`detectable`: smallest perplexity ratio found; `needed`: units for `safe`. None without an earlier run."""

    corpus: str
    documents: int
    tokens: int | None
    units: int | None
    unit: str
    detectable: float | None
    margin: float
    needed: int | None
    basis: str


@dataclass(frozen=True, slots=True)
class LoadPower:
    """`detectable`: smallest ratio of output throughput found; `needed`: blocks until two equal variants are told to be
    within the margin. Both with 80% power, from the upper 80% limit of the spread; None where not known, or too many.
    """

    load: str
    blocks: int
    spread: float | None
    freedom: int
    detectable: float | None
    margin: float
    needed: int | None
    basis: str


@dataclass(frozen=True, slots=True)
class Power:
    tasks: tuple[TaskPower, ...]
    corpora: tuple[CorpusPower, ...]
    loads: tuple[LoadPower, ...]


def power_of(plan: Plan, pilot: Pilot) -> Power:
    """What `plan` can show, by what `pilot` knows."""
    suites = next((step.suites for step in plan.steps if isinstance(step, QualityStep)), ())
    # How many items a task over the hub's data has is not known before it is asked.
    tasks = {suite.name: len(suite.items) for suite in suites if isinstance(suite, JudgedSuite) and suite.items}
    corpora = [suite for suite in suites if isinstance(suite, Corpus)]
    load = plan.experiment.load
    loads = [point.subject for point in load.points()] if load and len(plan.experiment.variants) > 1 else []
    together = [[*loads]] if len(loads) > 1 else []
    return Power(
        tuple(_task(plan, pilot, name, items, len(tasks)) for name, items in tasks.items()),
        tuple(_corpus(plan, pilot, corpus) for corpus in corpora),
        tuple(_load(plan, pilot.scatter(group), group) for group in [*([one] for one in loads), *together]),
    )


def _task(plan: Plan, pilot: Pilot, task: str, items: int, tasks: int) -> TaskPower:
    margin = plan.experiment.policy.margin.accuracy(task)
    quality, flipping = plan.experiment.quality, pilot.flipping(task)
    early = quality is not None and quality.stop == "early"
    return TaskPower(
        task, items, flipping.psi, flipping.basis, flipping.variant,
        minimum_detectable_difference(flipping.psi, items, alpha=ALPHA, power=POWER), margin,
        int(np.ceil(items_for_noninferiority(flipping.psi, margin, alpha=ALPHA / tasks, power=POWER))),
        _expected(flipping.psi, margin, items, tasks) if early else None,
    )  # fmt: skip


def _expected(psi: float, margin: float, items: int, tasks: int) -> int:
    """Items until the test martingale stops, about the median; all of them where it would take more."""
    return int(np.ceil(min(expected_stop(psi, margin, alpha=ALPHA, tasks=tasks), items)))


def _corpus(plan: Plan, pilot: Pilot, corpus: Corpus) -> CorpusPower:
    margin, known = plan.experiment.policy.margin.perplexity_ratio, pilot.text(corpus.name)
    documents = len(corpus.documents)
    if known is None or corpus.tokens is None:
        why = "no run has measured it" if known is None else "its length in tokens is not known before it is read"
        return CorpusPower(corpus.name, documents, corpus.tokens, None, "document", None, margin, None, why)
    units = max(2, round(corpus.tokens * known.units_per_token))
    needed = ((normal_quantile(1 - ALPHA) + normal_quantile(POWER)) * known.spread / float(np.log1p(margin))) ** 2
    reach = (normal_quantile(1 - ALPHA / 2) + normal_quantile(POWER)) * known.spread / float(np.sqrt(units))
    return CorpusPower(corpus.name, documents, corpus.tokens, units, known.unit, float(np.exp(reach)), margin,
                       max(2, int(np.ceil(needed))), known.basis)


def _load(plan: Plan, scatter: Scatter | None, loads: Sequence[str]) -> LoadPower:
    margin, blocks = plan.experiment.policy.margin.throughput_ratio, plan.experiment.blocks
    name = loads[0] if len(loads) == 1 else ALL_LOADS
    if scatter is None:
        why = "no run of two or more blocks on this machine"
        return LoadPower(name, blocks, None, 0, None, margin, None, why)
    spread = spread_limit(scatter.spread, scatter.freedom)
    return LoadPower(name, blocks, scatter.spread, scatter.freedom, detectable_ratio(spread, blocks), margin,
                     blocks_for_margin(spread, margin), scatter.basis)
