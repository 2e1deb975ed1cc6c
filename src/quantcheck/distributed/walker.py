"""The driver: places steps on nodes, stores the cells that come back, and tries again what a lost node had in hand."""

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantcheck import errors
from quantcheck.distributed.cluster import connected
from quantcheck.distributed.mailbox import open_mailbox
from quantcheck.distributed.needs import Needs, needs_of
from quantcheck.distributed.nodes import Node, Nodes, pinned
from quantcheck.distributed.placing import Board, Lane, Place, fits
from quantcheck.distributed.shares import Shares
from quantcheck.distributed.step import Order, carry_out, files_of, sweep
from quantcheck.errors import MeasurementError, ModelError, QuantcheckError
from quantcheck.quality.suites import JudgedSuite
from quantcheck.runner.plan import LoadStep, QualityStep
from quantcheck.runner.progress import Progress
from quantcheck.runner.walk import Walk, keep
from quantcheck.store import CellKey

__all__ = ["RayWalker", "walker_on"]

POLL_S = 0.2
NODES_EVERY_S = 1.0
STUCK_S = 120.0
"""How long steps wait for a node that could take them, while nothing runs."""
TRIES = 5
"""How often one step may be lost with its node or its worker."""
GRACE_S = 20.0
"""How long cancelled steps may take to end their engines before their workers are killed."""


@contextmanager
def walker_on(on: str, labels: Mapping[str, str], progress: Progress) -> Iterator["RayWalker"]:
    """A walker over the cluster `ray` or `ray://HOST:PORT`; raises as `connected`."""
    with connected(on) as ray:
        yield RayWalker(ray, Nodes(ray, labels, progress))


@dataclass(eq=False)
class _Hand:
    """A step that a node has in hand."""

    lane: Lane
    index: int | None
    pending: Mapping[str, CellKey]
    place: Place
    outcome: Any
    logits: Any


class RayWalker:
    """Quality first, on all nodes; then the blocks, each on one node, no two at once on a host."""

    def __init__(self, ray: Any, nodes: Nodes) -> None:
        self._ray = ray
        self._nodes = nodes
        self._hardware: str | None = None

    def environment(self, hardware: str | None) -> dict[str, Any]:
        """Of the nodes that measure speed: those of `hardware`, else the kind that has most CPUs and GPUs together."""
        nodes = self._nodes.first()
        same = [node for node in nodes if node.hardware == hardware]
        sizes: Counter[str] = Counter()
        for node in same or nodes:
            sizes[node.hardware] += 1000 * node.gpus + node.cpus
        self._hardware = sizes.most_common(1)[0][0]
        return dict(next(node for node in nodes if node.hardware == self._hardware).told["environment"])

    def walk(self, walk: Walk) -> None:
        drive = _Drive(self._ray, self._nodes, self._hardware, walk)
        try:
            drive.all()
        finally:
            drive.end()


class _Drive:
    """One run."""

    def __init__(self, ray: Any, nodes: Nodes, hardware: str | None, walk: Walk) -> None:
        self._ray, self._nodes, self._hardware, self._walk = ray, nodes, hardware, walk
        self._run = uuid.uuid4().hex[:12]
        self._board = Board()
        self._hands: list[_Hand] = []
        self._keys = {key.id: key for _, _, key in walk.plan.keys(walk.artifacts)}
        self._logits: list[tuple[Any, Any]] = []
        self._shares = Shares(walk)
        self._alive: list[Node] = []
        self._looked = -NODES_EVERY_S
        self._told: set[tuple[str, str, int]] = set()
        self._mailbox = open_mailbox(ray, ray.cluster_resources())
        self._experiment = walk.plan.experiment.model_dump_json(by_alias=True)

    def all(self) -> None:
        steps = self._walk.plan.steps
        quality = [index for index, step in enumerate(steps) if isinstance(step, QualityStep)]
        with self._walk.stage("quality"):
            self._go(self._shared(quality[:1]))  # the baseline, which all others are held to
            self._go(self._shared(quality[1:]))
        blocks: dict[int, list[int | None]] = {}
        for index, step in enumerate(steps):
            if isinstance(step, LoadStep) and self._walk.pending(step):
                blocks.setdefault(step.block, []).append(index)
        if blocks:
            self._go([Lane([None], "load")])
            with self._walk.stage("speed"):
                self._go([Lane(indices, "load") for indices in blocks.values()])

    def end(self) -> None:
        """Cancel what is in hand, store what it had sent, and leave nothing on the nodes."""
        ray = self._ray
        refs = [hand.outcome for hand in self._hands]
        with suppress(ray.exceptions.RayError):
            for ref in refs:
                ray.cancel(ref, force=False)
            _, left = ray.wait(refs, num_returns=len(refs), timeout=GRACE_S) if refs else ([], [])
            for ref in left:
                ray.cancel(ref, force=True)
            self._hear()
            swept = [ray.remote(num_cpus=0, max_retries=0)(sweep).options(scheduling_strategy=pinned(node.id))
                     .remote(self._run) for node in self._alive]
            ray.wait(swept, num_returns=len(swept), timeout=GRACE_S) if swept else None
        ray.kill(self._mailbox)

    def _shared(self, indices: Sequence[int]) -> list[Lane]:
        self._look()
        needs = {index: self._needs(Lane([index], "quality")) for index in indices
                 if self._walk.pending(self._walk.plan.steps[index])}
        return self._shares.lanes(self._alive, needs)

    def _go(self, lanes: list[Lane]) -> None:
        """Measure all steps of `lanes`."""
        waiting = lanes
        idle_since = time.monotonic()
        while True:
            waiting = [lane for lane in waiting if self._next(lane)]
            if not waiting and not self._hands:
                return
            self._look()
            for lane in list(waiting):
                if self._place(lane):
                    waiting.remove(lane)
            if self._hands:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > STUCK_S:
                raise MeasurementError(self._why_stuck(waiting[0]))
            self._hear()
            refs = [hand.outcome for hand in self._hands]
            done, _ = self._ray.wait(refs, timeout=POLL_S) if refs else ([], [])
            if not refs:
                time.sleep(POLL_S)
            for hand in [hand for hand in self._hands if hand.outcome in done]:
                self._hear()  # its cells were put before it ended
                self._finish(hand)
                waiting.append(hand.lane)
            self._walk.progress.pulse()

    def _next(self, lane: Lane) -> bool:
        """Drop the steps of which nothing is missing; whether one is left."""
        while lane.steps and lane.steps[0] is not None and not self._shares.pending(lane):
            lane.steps.pop(0)
            lane.tries = 0
        return bool(lane.steps)

    def _look(self) -> None:
        if time.monotonic() - self._looked >= NODES_EVERY_S:
            self._alive, self._looked = self._nodes.alive(), time.monotonic()

    def _needs(self, lane: Lane) -> Needs:
        walk, index = self._walk, lane.steps[0]
        variant = walk.plan.baseline if index is None else walk.plan.steps[index].variant
        return needs_of(walk.plan.experiment, variant, walk.artifacts[variant], lane.kind,
                        gpus_there=any(node.gpus for node in self._alive))

    def _place(self, lane: Lane) -> bool:
        """Give the lane's next step to a node, if one can take it now."""
        walk, index = self._walk, lane.steps[0]
        if lane.pin is not None and lane.pin not in {node.id for node in self._alive}:
            lane.pin = None
        place = self._board.take(lane, self._needs(lane), self._alive, self._hardware)
        if place is None:
            return False
        pending = self._shares.pending(lane)
        order = Order(
            experiment=self._experiment,
            index=index,
            keys={subject: key.id for subject, key in pending.items()},
            spans=None if lane.spans is None else {subject: lane.spans[subject] for subject in pending},
            sha256={name: artifact.sha256 for name, artifact in walk.artifacts.items()},
            given=self._given(index),
            machine={name: value for name, value in (walk.store.read_document("experiment.json") or {}).items()
                     if name in ("ceilings", "calibration")},
            leaves_logits=lane.kind == "quality" and index is not None
            and walk.plan.steps[index].entry == walk.plan.baseline,
            scratch=(self._run, f"{place.node.id[:12]}-{place.slot}"),
            cpus=place.cpus,
            folder=str(Path.cwd()),
            address=place.node.address,
        )
        task = self._ray.remote(num_returns=2, max_retries=0)(carry_out).options(
            num_cpus=place.cpus, num_gpus=place.gpus, memory=place.memory or None,
            scheduling_strategy=pinned(place.node.id),
        )
        known = [logits for hardware, logits in self._logits if hardware == place.node.hardware]
        outcome, logits = task.remote(order, self._mailbox, known)
        lane.pin = place.node.id
        self._hands.append(_Hand(lane, index, pending, place, outcome, logits))
        return True

    def _given(self, index: int | None) -> dict[str, dict[str, bytes]]:
        """The baseline's answers, for a step whose tasks may end early."""
        walk = self._walk
        if index is None or not isinstance(walk.plan.steps[index], QualityStep) \
                or not walk.plan.stops_early(walk.plan.steps[index].entry):
            return {}
        step = walk.plan.baseline_step
        keys = [walk.plan.key(step, suite.name, walk.artifacts) for suite in step.suites
                if isinstance(suite, JudgedSuite)]
        return {key.id: files_of(walk.store.cell(key)) for key in keys if walk.store.has(key)}

    def _hear(self) -> None:
        """Store and tell what came. Raises `MeasurementError` when the head of the cluster is gone."""
        ray, walk = self._ray, self._walk
        try:
            events = ray.get(self._mailbox.take.remote(), timeout=60)
        except ray.exceptions.RayError as error:
            raise MeasurementError("the head node of the Ray cluster does not answer any more; finished cells are "
                                   "kept, the same command goes on from there") from error
        for kind, values in events:
            if kind == "cell":
                key = self._keys[values[0]]
                if not walk.store.has(key):
                    walk.store.adopt(key, values[1])
                    walk.measured += 1
            elif kind == "part":
                self._shares.keep(self._keys[values[0]], *values[1:])
            elif kind == "portion":
                self._shares.portion(*values)
            elif kind == "logs":
                for name, content in values[0].items():
                    with (walk.store.logs / Path(name).name).open("ab" if values[1] else "wb") as log:
                        log.write(content)
            else:
                if kind == "finished":
                    self._told.add(values[:3])
                getattr(walk.progress, kind)(*values)

    def _finish(self, hand: _Hand) -> None:
        """What came of a step; a lost one stays the next of its lane."""
        ray, walk, lane = self._ray, self._walk, hand.lane
        self._hands.remove(hand)
        self._board.free(hand.place)
        lost = ray.exceptions
        try:
            outcome = ray.get(hand.outcome)
        except (lost.NodeDiedError, lost.WorkerCrashedError, lost.LocalRayletDiedError, lost.OutOfMemoryError,
                lost.TaskUnschedulableError, lost.ObjectLostError) as error:
            self._lost(hand, error)
            return
        except lost.RayTaskError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise MeasurementError(f"node {hand.place.node.address}: {lines[-1].strip()}") from error
        lane.steps.pop(0)
        lane.tries = 0
        if outcome["error"] is not None:
            name, text, root = outcome["error"]
            wrong = getattr(errors, name)(text.replace(root, str(walk.store.root)))
            assert isinstance(wrong, QuantcheckError)
            if hand.index is None or not isinstance(wrong, MeasurementError | ModelError):
                raise wrong
            if walk.plan.steps[hand.index].entry not in walk.failed:  # another share may have told it
                walk.went_wrong(walk.plan.steps[hand.index], wrong)
        elif hand.index is None:
            keep(walk.store, outcome["machine"])
            walk.stages.update(outcome["stages"])
        else:
            step = walk.plan.steps[hand.index]
            left = hand.pending if step.entry not in walk.failed else {}
            if lacking := [name for name, key in left.items()
                           if name not in outcome["missing"] and not self._shares.arrived(key, lane)]:
                raise MeasurementError(f"{step.entry}: {', '.join(lacking)} did not arrive from node "
                                       f"{hand.place.node.address}; run again, finished cells are kept")
            walk.not_answered(step, outcome["missing"])
            if isinstance(step, QualityStep) and step.entry == walk.plan.baseline:
                self._logits.append((hand.place.node.hardware, hand.logits))

    def _lost(self, hand: _Hand, error: Exception) -> None:
        lane, node = hand.lane, hand.place.node
        whole = {} if lane.spans is not None else hand.pending
        for subject, key in whole.items():  # stored, and lost before it was told
            if self._walk.store.has(key) and (key.variant, subject, key.block) not in self._told:
                duration = self._walk.store.cell(key).record["duration_s"]
                self._walk.progress.finished(key.variant, subject, key.block, duration)
        lane.tries += 1
        lane.pin = None
        lane.shunned[node.id] = time.monotonic()
        self._looked = -NODES_EVERY_S
        what = "ceilings and calibration" if hand.index is None else self._walk.plan.steps[hand.index].entry
        if lane.tries >= TRIES:
            raise MeasurementError(f"{what}: lost {TRIES} times with its node or worker, last on {node.address} "
                                   f"({type(error).__name__}); see `ray status` and that node's memory; finished "
                                   "cells are kept")
        self._walk.progress.note(f"{what}: node {node.address} was lost ({type(error).__name__}); what it had in hand "
                                 "is measured again elsewhere")

    def _why_stuck(self, lane: Lane) -> str:
        needs = self._needs(lane)
        wanted = f"{needs.gpus} GPUs, {needs.cpus or 1} CPUs and {needs.memory} bytes of memory"
        if lane.kind == "load" and any(fits(node, needs) for node in self._alive):
            return (f"no node of the hardware {self._hardware} is left to measure speed "
                    "on; figures of two machines are not mixed; finished cells are kept")
        return f"no node of the cluster has {wanted}; see `ray status`; finished cells are kept"
