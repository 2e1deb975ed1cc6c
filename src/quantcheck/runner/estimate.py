"""What `quantcheck plan` says: how many cells there are, what is stored, how long the rest will take and what it costs,
and what the experiment can show at that size.

Times come from cells stored in the results folder, or from a probe: the same experiment made small, run on the
baseline alone into a folder that is thrown away.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quantcheck.runner.pace import Pace
from quantcheck.runner.pilot import Pilot
from quantcheck.runner.plan import LoadStep, Plan, Task, make_plan
from quantcheck.runner.power import Power, power_of
from quantcheck.runner.run import run
from quantcheck.spec.experiment import AGAIN, Experiment
from quantcheck.store import Store

__all__ = ["Estimate", "estimate"]

PROBE_ITEMS, PROBE_TOKENS = 24, 1024


@dataclass(frozen=True)
class Estimate:
    """`seconds` (for what is left) is None when it is not known; `basis` says what it rests on.

    `all_seconds` and `all_usd` are for all cells, stored ones too; `usd` for what is left. None without a price
    (policy.price) or without a known time.
    """

    plan: Plan
    stored: int
    seconds: float | None
    basis: str
    all_seconds: float | None
    usd: float | None
    all_usd: float | None
    power: Power

    def lines(self) -> Iterator[str]:
        """What a user reads."""
        plan = self.plan
        tasks = list(plan.tasks())
        yield f"variants    {', '.join(dict.fromkeys(task.entry for task in tasks))}"
        for kind, name in (("quality", "quality"), ("load", "speed")):
            cells = [task for task in tasks if task.kind == kind]
            if cells:
                starts = sum(isinstance(step, LoadStep) for step in plan.steps)
                how = f" in {starts} engine starts ({plan.experiment.blocks} blocks)" if kind == "load" else ""
                yield f"{name:<11} {len(cells)} cells{how}: {', '.join(dict.fromkeys(c.subject for c in cells))}"
        yield f"stored      {self.stored}; left to measure: {len(tasks) - self.stored}"
        if self.stored == len(tasks):
            yield "time        nothing is left"
        elif self.seconds is None:
            yield f"time        unknown ({self.basis})"
        else:
            yield f"time        about {_duration(self.seconds)}, {self.basis}"
        if self.stored and self.all_seconds is not None:
            yield f"all cells   about {_duration(self.all_seconds)}"
        price = plan.experiment.policy.price
        if price is not None and self.all_usd is None:
            yield "money       unknown, as the time is"
        elif price is not None:
            left = f"about ${self.usd:,.2f} for what is left, " if self.usd is not None and self.stored else ""
            yield (f"money       {left}about ${self.all_usd:,.2f} for all cells, at ${price.gpu_hour_usd:,.2f} an hour "
                   "of one accelerator (assumed: policy.price)")

    def document(self) -> dict[str, Any]:
        """The same as JSON values: durations in s, money in USD, changes of accuracy as fractions."""
        tasks = list(self.plan.tasks())
        return {
            "schema_version": 1,
            "experiment": self.plan.experiment.name,
            "cells": len(tasks),
            "stored": self.stored,
            "seconds": self.seconds,
            "seconds_from": self.basis,
            "all_seconds": self.all_seconds,
            "usd": self.usd,
            "all_usd": self.all_usd,
            **asdict(self.power),
        }


def estimate(experiment: Experiment, store: Store, *, allow_probe: bool) -> Estimate:
    """Count the cells of `experiment`, and time those that `store` does not hold.

    A stored cell counts when variant, subject and block are the same; whether all it was measured with is the same
    too is known only to a run. Raises what `run` raises when the probe cannot be measured.
    """
    plan = make_plan(experiment)
    tasks = {(task.entry, task.subject, task.block): task for task in plan.tasks()}
    pace = _learned(plan, store)
    stored = {(cell.key.variant, cell.key.subject, cell.key.block) for cell in store.cells()}
    left = [task for key, task in tasks.items() if key not in stored]
    power = power_of(plan, Pilot(experiment, store))
    basis = "from the cells stored here"
    if pace.seconds(tasks.values()) is None and left and allow_probe:
        with tempfile.TemporaryDirectory(prefix="quantcheck-probe-") as folder:
            small = _small(experiment)
            run(small, Path(folder) / "probe")
            pace = _learned(make_plan(small), Store(Path(folder) / "probe"), by_subject=False)
            basis = f"from a probe of {experiment.baseline} on this machine"
    elif pace.seconds(tasks.values()) is None:
        basis = "no cell was measured here yet, and probing was declined"
    every = list(tasks.values())
    return Estimate(
        plan, len(tasks) - len(left), pace.seconds(left), basis, pace.seconds(every),
        _usd(experiment, pace, left), _usd(experiment, pace, every), power,
    )  # fmt: skip


def _usd(experiment: Experiment, pace: Pace, tasks: Iterable[Task]) -> float | None:
    """What `tasks` cost at the policy's price, each at that of its variant; 0 for none of them."""
    price, total = experiment.policy.price, 0.0
    if price is None:
        return None
    for task in tasks:
        seconds = pace.seconds([task])
        if seconds is None:
            return None
        total += seconds / 3600 * price.hour_usd(task.entry.removesuffix(AGAIN))
    return total


def _learned(plan: Plan, store: Store, *, by_subject: bool = True) -> Pace:
    tasks = {(task.entry, task.subject, task.block): task for task in plan.tasks()}
    pace = Pace(by_subject=by_subject)
    for cell in store.cells():
        task = tasks.get((cell.key.variant, cell.key.subject, cell.key.block))
        if task is not None:
            pace.learn(task, float(cell.record["duration_s"]))
    return pace


def _small(experiment: Experiment) -> Experiment:
    """The baseline on a few items and one block of the least requests."""
    quality, load = experiment.quality, experiment.load
    return experiment.model_copy(update={
        "variants": {experiment.baseline: experiment.variants[experiment.baseline]},
        "noise_floor": False,
        "blocks": 1,
        "load": load and load.model_copy(update={"requests": 1}),
        "quality": quality and quality.model_copy(update={
            "items": min(quality.items or PROBE_ITEMS, PROBE_ITEMS),
            "tokens": min(quality.tokens or PROBE_TOKENS, PROBE_TOKENS),
            "texts": {name: text.model_copy(update={"tokens": min(text.tokens or PROBE_TOKENS, PROBE_TOKENS)})
                      for name, text in quality.texts.items()},
        }),
    })


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
