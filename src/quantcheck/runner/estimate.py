"""What `quantcheck plan` says: how many cells there are, what is stored, how long the rest will take and what it costs,
and what the experiment can show at that size.

Times come from cells stored in the results folder. Where there are none, for vLLM, whose start alone takes minutes,
from runs of the same model on this machine in the folders beside it and from assumptions that are printed; else from a
probe: the same experiment made small, run on the baseline alone into a folder that is thrown away.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from quantcheck.errors import EngineUnavailable
from quantcheck.runner.assumed import H200, AssumedPace, Device
from quantcheck.runner.ceilings import ceilings_of
from quantcheck.runner.pace import Pace
from quantcheck.runner.pilot import Pilot
from quantcheck.runner.plan import LoadStep, Plan, Task, make_plan
from quantcheck.runner.power import Power, power_of
from quantcheck.runner.progress import Silent
from quantcheck.runner.run import run
from quantcheck.spec.arguments import unlike_arguments
from quantcheck.spec.experiment import AGAIN, Experiment
from quantcheck.store import Cell, Store
from quantcheck.telemetry.environment import gpus
from quantcheck.variants.weightless import DTYPES

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
                yours = plan.experiment.engine.kind == "openai"
                rounds = "rounds over servers that keep running" if yours else "engine starts"
                how = f" in {starts} {rounds} ({plan.experiment.blocks} blocks)" if kind == "load" else ""
                yield f"{name:<11} {len(cells)} cells{how}: {', '.join(dict.fromkeys(c.subject for c in cells))}"
        made = [name for name, variant in plan.experiment.variants.items() if _is_quantized(plan.experiment, name)]
        if made:
            yield f"made first  {', '.join(made)} by llm-compressor, once; that time is not in what follows"
        for name, found in unlike_arguments(plan.experiment).items():
            yield f"unlike      {name}: {found}: what differs in speed is not its format alone"
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
    every = list(tasks.values())
    cells = list(store.cells())
    stored = {(cell.key.variant, cell.key.subject, cell.key.block) for cell in cells}
    left = [task for key, task in tasks.items() if key not in stored]
    pilot = Pilot(experiment, store)
    power = power_of(plan, pilot)
    assumed = _assumed(plan, store, allow_probe=allow_probe)
    pace = Pace(assumed)
    basis = "from the cells stored here"
    known = _learn(pace, plan, cells)
    if assumed is not None and not known:
        for run_beside in pilot.beside():
            theirs = AssumedPace(run_beside.experiment, assumed.device)
            if _learn(pace, make_plan(run_beside.experiment), run_beside.cells, theirs):
                basis = f"from the cells in {run_beside.store.root.name}, the rest {assumed.words}"
                break
        else:
            basis = assumed.words
    if pace.seconds(every) is None:
        if assumed is not None:
            basis = assumed.missing or "its loads are of no known length"
        elif left and allow_probe:
            with tempfile.TemporaryDirectory(prefix="quantcheck-probe-") as folder:
                small = _small(experiment)
                run(small, Path(folder) / "probe")
                _learn(pace, make_plan(small), list(Store(Path(folder) / "probe").cells()))
            basis = f"from a probe of {experiment.baseline} on this machine"
        else:
            basis = "no cell was measured here yet, and probing was declined"
    return Estimate(
        plan, len(tasks) - len(left), pace.seconds(left), basis, pace.seconds(every),
        _usd(experiment, pace, left), _usd(experiment, pace, every), power,
    )  # fmt: skip


def _assumed(plan: Plan, store: Store, *, allow_probe: bool) -> AssumedPace | None:
    """For vLLM, on this machine's GPU where it may be measured, else on an H200. None for engines that are probed."""
    experiment = plan.experiment
    if experiment.engine.kind != "vllm":
        return None
    try:
        here = Device.measured(ceilings_of(plan, store, Silent())) if allow_probe and gpus() else None
    except EngineUnavailable:  # vLLM is not installed here, and its torch is what would measure the GPU
        here = None
    return AssumedPace(experiment, here or H200)


def _is_quantized(experiment: Experiment, name: str) -> bool:
    """Whether llm-compressor makes the variant, which takes minutes to hours where it was not made before."""
    variant = experiment.variants[name]
    return (experiment.weights == "real" and variant.checkpoint is None and variant.scheme not in (None, *DTYPES)
            and variant.maker == "llm-compressor")


def _usd(experiment: Experiment, pace: Pace, tasks: Iterable[Task]) -> float | None:
    """What `tasks` cost at the policy's price, each at that of its variant; 0 for none of them."""
    price, total = experiment.policy.price, 0.0
    if price is None:
        return None

    def entry(task: Task) -> str:
        return task.entry

    for name, own in groupby(sorted(tasks, key=entry), entry):
        seconds = pace.seconds(own)
        if seconds is None:
            return None
        total += seconds / 3600 * price.hour_usd(name.removesuffix(AGAIN))
    return total


def _learn(pace: Pace, plan: Plan, cells: Iterable[Cell], assumed: AssumedPace | None = None) -> int:
    """Teach `pace` what the cells of `plan` and their engine starts took; how many cells there were.

    `assumed`: what is assumed of them, where `plan` is another experiment than that of `pace`.
    """
    tasks = {(task.entry, task.subject, task.block): task for task in plan.tasks()}
    starts: dict[tuple[str, int, str], float] = {}
    learned = 0
    for cell in sorted(cells, key=lambda cell: float(cell.record.get("started_at", 0))):
        key = cell.key
        task = tasks.get((key.variant, key.subject, key.block))
        if task is not None:
            pace.learn(task, float(cell.record["duration_s"]), assumed.seconds(task) if assumed else None)
            learned += 1
        ready = cell.record["result"].get("ready_s", cell.record.get("engine", {}).get("ready_s"))
        if ready is not None:
            starts[key.variant, key.block, key.kind] = float(ready)
    for (entry, _, _), ready in starts.items():
        pace.learn_start(entry, ready)
    return learned


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
            "continuations": quality.continuations and quality.continuations.model_copy(
                update={"items": min(quality.continuations.items, PROBE_ITEMS)}),
            "texts": {name: text.model_copy(update={"tokens": min(text.tokens or PROBE_TOKENS, PROBE_TOKENS)})
                      for name, text in quality.texts.items()},
        }),
    })


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
