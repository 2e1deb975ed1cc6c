"""What of an experiment is still to be measured, and who measures it: the seam between a run and where it is run.

A `Walk` knows the steps, the cells that are missing and what went wrong. A `Walker` places the steps: `Here` in order
in this process, `quantcheck.distributed` on the nodes of a Ray cluster. Both call `measure_step` for one step.
"""

import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from quantcheck.errors import MeasurementError, ModelError
from quantcheck.runner.calibration import calibration_of
from quantcheck.runner.ceilings import ceilings_of
from quantcheck.runner.plan import LoadStep, Plan, Step
from quantcheck.runner.progress import Progress
from quantcheck.runner.scoring import Share, score
from quantcheck.runner.speed import limited_by_client, measure_block
from quantcheck.store import Cell, CellKey, Store
from quantcheck.telemetry.environment import environment
from quantcheck.telemetry.host import host_load
from quantcheck.variants.artifact import Artifact

__all__ = ["Here", "Walk", "Walker", "before_speed", "keep", "measure_step", "write_document"]


@dataclass
class Walk:
    """One run's steps and what came of them.

    `failed` holds the reason of each entry that is left out, and gets those of further ones; `left_out` gets those of
    single tasks; `measured` counts the cells of this run; `stages` gets wall seconds. `blocks`: those that this run
    measures, from 0, quality being of the first; none: all.
    """

    plan: Plan
    artifacts: Mapping[str, Artifact]
    failed: dict[str, str]
    store: Store
    progress: Progress
    stages: dict[str, float]
    blocks: Collection[int] | None = None
    left_out: list[dict[str, str]] = field(default_factory=list)
    measured: int = 0

    def __post_init__(self) -> None:
        self._keys = {(id(step), subject): key for step, subject, key in self.plan.keys(self.artifacts)}

    def begin(self) -> None:
        """Put by the cells that are worth another try, and tell what is to be measured."""
        for key in self._keys.values():
            again = key.kind == "load" and self._mine(key.block) and self.store.has(key)
            if again and limited_by_client(self.store.cell(key)):
                self.store.put_by(key)
        done = {(key.variant, key.subject, key.block) for key in self._keys.values() if self.store.has(key)}
        self.progress.begin([task for task in self.plan.tasks() if task.entry not in self.failed
                             and (task.entry, task.subject, task.block) not in done and self._mine(task.block)],
                            len(done))

    def pending(self, step: Step) -> dict[str, CellKey]:
        """The cells of `step` that this run is to measure, by subject; none of an entry that failed."""
        if step.entry in self.failed or not self._mine(step.block if isinstance(step, LoadStep) else 0):
            return {}
        keys = {subject: self._keys[id(step), subject] for subject in step.subjects}
        return {subject: key for subject, key in keys.items() if not self.store.has(key)}

    def _mine(self, block: int) -> bool:
        return self.blocks is None or block in self.blocks

    @property
    def whole(self) -> bool:
        """Whether nothing is left for another run but what failed in this one."""
        return self.blocks is None or all(self.store.has(key) for key in self._keys.values())

    def not_answered(self, step: Step, missing: Mapping[str, str]) -> None:
        """Note the tasks that a machine cannot answer, by subject with the reason."""
        for subject, reason in missing.items():
            if reason not in [known["reason"] for known in self.left_out]:
                self.progress.note(f"{subject}: {reason}")
            self.left_out.append({"variant": step.entry, "subject": subject, "reason": reason})

    def went_wrong(self, step: Step, error: Exception) -> None:
        """Leave the entry of `step` out from now on; raises `error` when it is the baseline's."""
        if step.variant == self.plan.baseline:
            raise error
        self.failed[step.entry] = str(error)
        self.progress.note(f"{step.entry}: {error}")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add what happens inside to the stage's seconds."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.monotonic() - started

    def cells(self) -> list[Cell]:
        """All cells that are stored now."""
        return [self.store.cell(key) for key in self._keys.values() if self.store.has(key)]


class Walker(Protocol):
    """Where steps are measured."""

    def environment(self, hardware: str | None) -> dict[str, Any]:
        """What a report says of the machine; `hardware`: the id of the one that earlier cells were measured on."""
        ...

    def walk(self, walk: Walk) -> None:
        """Measure all that is missing. Raises the errors of `quantcheck.errors`; stored cells stay."""
        ...


class Here:
    """In order, in this process."""

    def environment(self, hardware: str | None) -> dict[str, Any]:
        return environment()

    def walk(self, walk: Walk) -> None:
        calibration: dict[str, Any] | None = None
        ready = False
        for step in walk.plan.steps:
            pending = walk.pending(step)
            if not pending:
                continue
            if isinstance(step, LoadStep) and not ready:
                calibration = before_speed(walk.plan, walk.store, walk.progress, walk.stages)
                ready = True
            with walk.stage("speed" if isinstance(step, LoadStep) else "quality"):
                try:
                    missing = measure_step(walk.plan, step, pending, walk.artifacts, walk.store, walk.progress,
                                           calibration)
                except (MeasurementError, ModelError) as error:
                    walk.went_wrong(step, error)
                else:
                    walk.measured += len(pending) - len(missing)
                    walk.not_answered(step, missing)


def measure_step(
    plan: Plan, step: Step, pending: Mapping[str, CellKey], artifacts: Mapping[str, Artifact], store: Store,
    progress: Progress, calibration: dict[str, Any] | None, share: Share | None = None,
) -> dict[str, str]:
    """Measure and store the cells of one step, or its `share` of a quality step; returns why others have none, by
    subject. Raises as its half does.
    """
    if isinstance(step, LoadStep):
        measure_block(plan, step, pending, artifacts, store, progress, calibration)
        return {}
    return score(plan, step, pending, artifacts, store, progress, share)


def before_speed(plan: Plan, store: Store, progress: Progress, stages: dict[str, float]) -> dict[str, Any] | None:
    """Measure the machine's ceilings and the client's calibration where they are not stored; returns the latter."""
    started = time.monotonic()
    if busy := host_load().warning():
        progress.note(busy)
    keep(store, {"ceilings": ceilings_of(plan, store, progress, quiet=not busy)})
    stages["ceilings"] = time.monotonic() - started
    started = time.monotonic()
    calibration = calibration_of(plan, store, progress)
    keep(store, {"calibration": calibration})
    stages["calibration"] = time.monotonic() - started
    return calibration


def keep(store: Store, what: Mapping[str, Any]) -> None:
    """Add to what the results folder says of the machine."""
    write_document(store, {**(store.read_document("experiment.json") or {}), **what})


def write_document(store: Store, document: Mapping[str, Any]) -> None:
    """Write `experiment.json` whole."""
    store.write_document("experiment.json", json.dumps(document, indent=1) + "\n")
