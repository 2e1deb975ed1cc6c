"""Which node measures what: free GPUs and CPUs are counted, and speed is kept alone on its host. Knows no Ray.

Ray holds the same amounts for each task, so what others run on the cluster is respected, too; here it is decided where.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from quantcheck.distributed.needs import Needs
from quantcheck.distributed.nodes import Node
from quantcheck.quality.parts import Span

__all__ = ["Board", "Lane", "Place", "fits"]

SHUN_S = 15.0
"""How long a node is left out for a step that was lost on it, while others can take it."""


@dataclass
class Lane:
    """Steps that are measured on one node, in order, by index in the plan; None: what comes before all speed.

    `spans`: what of each suite is scored; none: all. `pin`: the node that measures the rest; none: not chosen yet, or
    lost. `shunned`: when a step was lost there, by node.
    """

    steps: list[int | None]
    kind: Literal["quality", "load"]
    spans: Mapping[str, Span] | None = None
    pin: str | None = None
    tries: int = 0
    shunned: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one step is, and what it holds there; `slot` numbers the steps of a node that run at once."""

    node: Node
    slot: int
    cpus: int
    gpus: int
    memory: int
    kind: Literal["quality", "load"]


def fits(node: Node, needs: Needs) -> bool:
    """Whether an empty node could take a step with these needs."""
    return node.cpus >= 1 and node.gpus >= needs.gpus and node.memory >= needs.memory


class Board:
    """What is placed now."""

    def __init__(self) -> None:
        self._placed: list[Place] = []

    def take(self, lane: Lane, needs: Needs, nodes: Sequence[Node],
             hardware: str | None) -> Place | None:
        """A place for the next step of `lane`, which is then held; None when there is none now.

        Quality goes where the fewest steps are, then where most CPUs are free. Speed goes only to nodes of `hardware`
        whose host measures nothing else, and a lane of it stays on its node.
        """
        able = [node for node in nodes if fits(node, needs) and self._room(node, needs)]
        if lane.kind == "load":
            busy = {place.node.host for place in self._placed}
            able = [node for node in able if node.hardware == hardware and node.host not in busy]
            if lane.pin is not None:
                able = [node for node in able if node.id == lane.pin]
        else:
            timed = {place.node.host for place in self._placed if place.kind == "load"}
            able = [node for node in able if node.host not in timed]
        now = time.monotonic()
        able = [node for node in able if now - lane.shunned.get(node.id, -SHUN_S) >= SHUN_S]
        if not able:
            return None
        node = min(able, key=lambda node: (len(self._on(node)), -self._free_cpus(node)))
        used = {place.slot for place in self._on(node)}
        slot = next(number for number in range(len(used) + 1) if number not in used)
        place = Place(node, slot, self._cpus(node, needs), needs.gpus, needs.memory, lane.kind)
        self._placed.append(place)
        return place

    def free(self, place: Place) -> None:
        """The step has ended."""
        self._placed.remove(place)

    def _on(self, node: Node) -> list[Place]:
        return [place for place in self._placed if place.node.id == node.id]

    def _free_cpus(self, node: Node) -> int:
        return node.cpus - sum(place.cpus for place in self._on(node))

    @staticmethod
    def _cpus(node: Node, needs: Needs) -> int:
        return node.cpus if needs.cpus is None else min(needs.cpus, node.cpus)

    def _room(self, node: Node, needs: Needs) -> bool:
        here = self._on(node)
        return (self._cpus(node, needs) <= self._free_cpus(node)
                and needs.gpus <= node.gpus - sum(place.gpus for place in here)
                and needs.memory <= node.memory - sum(place.memory for place in here))
