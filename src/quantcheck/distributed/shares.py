"""Quality steps in shares: into how many each is cut, which are missing, and their cells when all parts are there.

Knows no Ray.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from quantcheck.distributed.gather import Gather
from quantcheck.distributed.needs import Needs
from quantcheck.distributed.nodes import Node
from quantcheck.distributed.placing import Lane, fits
from quantcheck.quality.parts import Unit, shares, uncut
from quantcheck.quality.suites import Corpus
from quantcheck.runner.cutting import units_of
from quantcheck.runner.plan import QualityStep
from quantcheck.runner.walk import Walk
from quantcheck.store import CellKey

__all__ = ["Shares", "how_many", "places"]

LEAST_TOKENS = 20_000
"""Work of a share at least, where a scoring process starts in a second or two."""
LEAST_TOKENS_SERVED = 1_000_000
"""The same where an engine is started for it, which takes a minute or more."""


class Shares:
    """Those of one run."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._gather = Gather(walk.store)
        self._done: dict[tuple[str, str], dict[int, int]] = {}

    @cached_property
    def _units(self) -> list[Unit]:
        walk = self._walk
        return units_of(walk.plan, walk.artifacts, walk.store, walk.progress)

    def lanes(self, nodes: Sequence[Node], needs: Mapping[int, Needs]) -> list[Lane]:
        """Quality steps of which something is missing, each as one or in shares. `needs`: by the steps' indices.

        Raises as `units_of`, and `StoreError`.
        """
        plan = self._walk.plan
        lanes = [Lane([index], "quality") for index in needs]
        there = min((places(nodes, each) for each in needs.values()), default=0)
        if not lanes or there < 2 or not self._may_be_cut:
            return lanes
        starts = plan.experiment.engine.kind != "llama.cpp"
        count = how_many(there, len(lanes), sum(unit.work for unit in self._units), starts=starts)
        return [share for lane in lanes for share in self._cut(lane, count)]

    @property
    def _may_be_cut(self) -> bool:
        """Not tasks that may end early, which are one sequence of looks, nor what a server of the user is asked."""
        experiment = self._walk.plan.experiment
        return experiment.quality is not None and experiment.quality.stop != "early" \
            and experiment.engine.kind != "openai"

    def _cut(self, lane: Lane, count: int) -> list[Lane]:
        walk = self._walk
        step = walk.plan.steps[lane.steps[0] or 0]
        assert isinstance(step, QualityStep)
        # The baseline's logits are wanted whole.
        whole = [suite.name for suite in step.suites if isinstance(suite, Corpus)]
        dealt = shares(uncut(self._units, whole) if step.entry == walk.plan.baseline else self._units, count)
        if len(dealt) < 2:
            return [lane]
        for subject, key in walk.pending(step).items():
            self._gather.expect(key, [share[subject] for share in dealt if subject in share])
            self._stored(key)  # of an earlier run that was stopped
        return [Lane(list(lane.steps), lane.kind, spans=share) for share in dealt]

    def pending(self, lane: Lane) -> dict[str, CellKey]:
        """What is missing of the lane's next step, by subject; nothing of what comes before all speed."""
        index = lane.steps[0]
        missing = {} if index is None else self._walk.pending(self._walk.plan.steps[index])
        return {subject: key for subject, key in missing.items() if not self.arrived(key, lane)}

    def arrived(self, key: CellKey, lane: Lane) -> bool:
        """Whether nothing of the cell is wanted from the lane any more."""
        if lane.spans is None or self._walk.store.has(key):
            return self._walk.store.has(key)
        return key.subject not in lane.spans or self._gather.has(key, lane.spans[key.subject])

    def keep(self, key: CellKey, packed: bytes, record: Mapping[str, Any]) -> None:
        """Take a part in; the cell is stored with its last one."""
        self._gather.add(key, packed, record)
        self._stored(key)

    def portion(self, variant: str, subject: str, begin: int, done: int, of: int) -> None:
        """Tell how far all shares of a cell are together; `begin`: where the share begins."""
        portions = self._done.setdefault((variant, subject), {})
        portions[begin] = done
        self._walk.progress.step(variant, subject, min(sum(portions.values()), of), of)

    def _stored(self, key: CellKey) -> None:
        if (seconds := self._gather.store(key)) is not None:
            self._walk.measured += 1
            self._walk.progress.finished(key.variant, key.subject, key.block, seconds)


def places(nodes: Iterable[Node], needs: Needs) -> int:
    """How many steps with these needs the nodes can have at once."""
    return sum(_on(node, needs) for node in nodes)


def _on(node: Node, needs: Needs) -> int:
    if not fits(node, needs):
        return 0
    most = [1 if needs.cpus is None else max(1, node.cpus // max(1, needs.cpus))]
    if needs.gpus:
        most.append(node.gpus // needs.gpus)
    if needs.memory:
        most.append(node.memory // needs.memory)
    return min(most)


def how_many(there: int, entries: int, work: float, *, starts: bool) -> int:
    """Shares of each of `entries` entries of `work` tokens, for `there` places.

    Where a share starts quickly, as many as places, so that all end together; where an engine is started for each
    (`starts`), as few as leave no place idle.
    """
    wanted = -(-there // entries) if starts else there
    return max(1, min(wanted, int(work // (LEAST_TOKENS_SERVED if starts else LEAST_TOKENS))))
