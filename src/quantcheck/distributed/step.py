"""One step on a node: made ready from the experiment alone, measured as the local runner does, sent cell by cell."""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantcheck.distributed.cluster import library
from quantcheck.distributed.mailbox import Event
from quantcheck.errors import MeasurementError, ModelError, QuantcheckError
from quantcheck.quality.parts import Part, Span
from quantcheck.runner.artifacts import artifacts_of
from quantcheck.runner.plan import Plan, Step, Task, make_plan
from quantcheck.runner.scoring import Share
from quantcheck.runner.walk import before_speed, keep, measure_step
from quantcheck.spec.experiment import Experiment, LlamaCppEngine
from quantcheck.store import Cell, CellKey, Store
from quantcheck.store.tables import Table
from quantcheck.variants.artifact import Artifact, cache_root

__all__ = ["LOGITS_BYTES", "Order", "carry_out", "files_of", "sweep"]

LOGITS_BYTES = 64 << 20
"""Up to this size the baseline's logits go to the other nodes; above it, they score the baseline again."""
TOLD_EVERY_S = 0.5
LOG_BYTES = 1 << 20
"""Of each log, its end, that comes back to the driver."""


@dataclass(frozen=True)
class Order:
    """What a node is asked to measure.

    `experiment` is its JSON, `index` the step in its plan (None: ceilings and calibration), `keys` the cells' ids by
    subject, `spans` what of each suite is scored (None: all), `sha256` those of the driver's artifacts by variant.
    `given`: files of stored cells that the step reads, by the cell's id. `machine`: what the results folder knows of
    the machine. `leaves_logits`: other steps are held to its logits. `scratch` names the folder in the cache.
    """

    experiment: str
    index: int | None
    keys: Mapping[str, str]
    spans: Mapping[str, Span] | None
    sha256: Mapping[str, str]
    given: Mapping[str, Mapping[str, bytes]]
    machine: Mapping[str, Any]
    leaves_logits: bool
    scratch: tuple[str, str]
    cpus: int
    folder: str
    address: str


def carry_out(order: Order, mailbox: Any, logits: Sequence[Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Runs on the node: what came of it, and the baseline's logits when this was the baseline and they are small.

    `logits`: what another node's baseline left, as references. The first holds `missing` (reasons by subject), `error`
    (class and text; None when all went well), and for ceilings and calibration `machine` and `stages`.
    """
    if os.environ.get("OMP_NUM_THREADS") == str(order.cpus):
        del os.environ["OMP_NUM_THREADS"]  # Ray's, which the engines would inherit
    with suppress(OSError):
        os.chdir(order.folder)  # where the driver is: relative paths mean the same when storage is shared
    ray = library()
    root = cache_root().joinpath("ray", *order.scratch)
    store = _Sending(root, ray, mailbox, order.address)
    outcome: dict[str, Any] = {"missing": {}, "error": None}
    kept: dict[str, bytes] = {}
    try:
        for folder in (root / "cells", store.work, store.logs):
            folder.mkdir(parents=True, exist_ok=True)
        outcome |= _measure(order, store, _Telling(mailbox, order.spans), ray, logits)
        if order.leaves_logits:
            kept = _logits_of(store.work)
    except QuantcheckError as error:
        # One line, with paths as they will be on the driver, where the logs are brought.
        outcome["error"] = type(error).__name__, f"node {order.address}: {error}", str(root)
    except OSError as error:
        outcome["error"] = "MeasurementError", f"node {order.address}: {error}", str(root)
    finally:
        logs = {file.name: file.read_bytes()[-LOG_BYTES:] for file in store.logs.glob("*") if file.is_file()}
        if logs:
            ray.get(mailbox.put.remote(("logs", (logs, order.spans is not None))))
        for folder in (root / "cells", store.logs):
            shutil.rmtree(folder, ignore_errors=True)
    return outcome, kept


def sweep(run: str) -> None:
    """Remove what a run's steps left in the node's cache."""
    shutil.rmtree(cache_root() / "ray" / run, ignore_errors=True)


def files_of(cell: Cell) -> dict[str, bytes]:
    """A stored cell's files, by name."""
    return {file.name: file.read_bytes() for file in sorted(cell.folder.iterdir())}


def _measure(order: Order, store: "_Sending", progress: "_Telling", ray: Any, logits: Sequence[Any]) -> dict[str, Any]:
    experiment = Experiment.model_validate_json(order.experiment)
    if isinstance(experiment.engine, LlamaCppEngine) and order.index is not None:
        threads = {"scoring_threads": experiment.engine.scoring_threads or order.cpus}
        experiment = experiment.model_copy(update={"engine": experiment.engine.model_copy(update=threads)})
    plan = make_plan(experiment)
    if order.index is None:
        keep(store, order.machine)
        stages: dict[str, float] = {}
        before_speed(plan, store, progress, stages)
        return {"machine": store.read_document("experiment.json"), "stages": stages}
    step = plan.steps[order.index]
    artifacts = _artifacts(order, plan, step, progress)
    keys = {subject: plan.key(step, subject, artifacts) for subject in order.keys}
    for subject, key in keys.items():
        if key.id != order.keys[subject]:
            raise MeasurementError(f"{step.entry}, {subject}: this node would measure something else than the driver "
                                   "asks for; give both the same engine version and the same files")
    _bring(order, plan, artifacts, store)
    _bring_logits(store.work, ray, logits)
    share = None if order.spans is None else Share(order.spans, store.keep)
    missing = measure_step(plan, step, keys, artifacts, store, progress, order.machine.get("calibration"), share)
    return {"missing": missing}


def _artifacts(order: Order, plan: Plan, step: Step, progress: "_Telling") -> dict[str, Artifact]:
    """From the node's cache, or made there by the same recipe; they must be the driver's."""
    experiment = plan.experiment
    wanted = {name: variant for name, variant in experiment.variants.items() if name in order.sha256}
    if experiment.engine.kind == "llama.cpp":  # others size their servers by all variants
        wanted = {name: wanted[name] for name in wanted if name in (step.variant, plan.baseline)}
    artifacts, failed = artifacts_of(experiment.model_copy(update={"variants": wanted}), progress)
    for name, reason in failed.items():
        if name == step.variant:
            raise ModelError(reason)
    for name, artifact in artifacts.items():
        if artifact.sha256 != order.sha256[name]:
            raise ModelError(f"{name}: the artifact that was made here is not the driver's; put the cache on storage "
                             "that all nodes share (QUANTCHECK_CACHE)")
    return artifacts


def _bring(order: Order, plan: Plan, artifacts: Mapping[str, Artifact], store: Store) -> None:
    """Into the scratch store, the baseline's cells that the step reads."""
    if not order.given:
        return
    step = plan.baseline_step
    for subject in step.subjects:
        key = plan.key(step, subject, artifacts)
        if key.id in order.given and not store.has(key):
            store.adopt(key, order.given[key.id])


def _bring_logits(work: Path, ray: Any, logits: Sequence[Any]) -> None:
    for reference in logits:
        with suppress(ray.exceptions.RayError):  # lost with its node: the baseline is scored again here
            for name, content in ray.get(reference, timeout=60).items():
                if not (work / name).exists():
                    part = work / f".{name}.part"
                    part.write_bytes(content)
                    part.replace(work / name)


def _logits_of(work: Path) -> dict[str, bytes]:
    files = sorted(work.glob("logits-*"))
    if sum(file.stat().st_size for file in files) > LOGITS_BYTES:
        return {}
    return {file.name: file.read_bytes() for file in files}


class _Sending(Store):
    """A scratch store whose cells are with the driver as soon as they are written."""

    def __init__(self, root: Path, ray: Any, mailbox: Any, address: str) -> None:
        super().__init__(root)
        self._ray, self._mailbox, self._address = ray, mailbox, address

    def keep(self, key: CellKey, part: Part, record: Mapping[str, Any]) -> None:
        """Send a part of a cell."""
        told = {**record, "node": self._address}
        self._ray.get(self._mailbox.put.remote(("part", (key.id, part.packed(), told))))

    def write(self, key: CellKey, record: Mapping[str, Any], tables: Mapping[str, Table]) -> Cell:
        cell = super().write(key, {**record, "node": self._address}, tables)
        self._ray.get(self._mailbox.put.remote(("cell", (key.id, files_of(cell)))))
        return cell


class _Telling:
    """Progress that is put into the mailbox; within a cell no more often than every half second."""

    def __init__(self, mailbox: Any, spans: Mapping[str, Span] | None) -> None:
        self._mailbox = mailbox
        self._spans = spans
        self._place: tuple[Any, ...] | None = None
        self._told = 0.0

    def begin(self, tasks: Sequence[Task], stored: int) -> None: ...

    def preparing(self, what: str) -> None:
        self._put(("preparing", (what,)))

    def started(self, variant: str, seconds: float) -> None:
        self._put(("started", (variant, seconds)))

    def step(self, variant: str, subject: str, done: int, of: int, block: int = 0) -> None:
        place = variant, subject, block
        if place != self._place or time.monotonic() - self._told > TOLD_EVERY_S:
            self._place, self._told = place, time.monotonic()
            if self._spans is None:
                self._put(("step", (variant, subject, done, of, block)))
            elif subject in self._spans:
                self._put(("portion", (variant, subject, self._spans[subject][0], done, of)))

    def finished(self, variant: str, subject: str, block: int, seconds: float) -> None:
        self._put(("finished", (variant, subject, block, seconds)))

    def note(self, text: str) -> None:
        self._put(("note", (text,)))

    def pulse(self) -> None: ...

    def _put(self, event: Event) -> None:
        self._mailbox.put.remote(event)
