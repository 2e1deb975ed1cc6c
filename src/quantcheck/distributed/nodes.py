"""The nodes of a cluster: what each says of itself, and which of them hardware of one kind."""

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import quantcheck
from quantcheck.errors import MeasurementError
from quantcheck.runner.plan import HARNESS
from quantcheck.runner.progress import Progress
from quantcheck.telemetry.environment import environment

__all__ = ["Node", "Nodes", "look"]

LOOK_S = 60.0
"""How long a node may take to start a first worker and to say what it is."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Node:
    """One node: Ray's id and address, what it may be asked for, and what it told."""

    id: str
    address: str
    cpus: int
    gpus: int
    memory: int
    told: Mapping[str, Any]

    @property
    def host(self) -> str:
        """The machine: nodes (containers, too) of one kernel share it, and disturb each other's speed."""
        return str(self.told["boot"])

    @property
    def hardware(self) -> str:
        """Steps of one block may run on nodes that agree in this: `hardware_id`, which the GPUs' names are part of."""
        return str(self.told["environment"]["hardware_id"])


def look() -> dict[str, Any]:
    """What a node says of itself; runs there."""
    boot = _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else environment()["hardware_id"]
    return {"boot": boot, "version": quantcheck.__version__, "harness": HARNESS, "niceness": os.nice(0),
            "environment": environment()}


class Nodes:
    """The nodes that can be used, asked once each; `labels`: those that a node must have."""

    def __init__(self, ray: Any, labels: Mapping[str, str], progress: Progress) -> None:
        self._ray, self._labels, self._progress = ray, dict(labels), progress
        self._known: dict[str, Node | None] = {}

    def alive(self) -> list[Node]:
        """Those that Ray holds for alive now; new ones are asked what they are first."""
        there = [node for node in self._ray.nodes() if node["Alive"] and self._wanted(node)]
        new = [node for node in there if node["NodeID"] not in self._known]
        asked = [(node, self._ask(node["NodeID"])) for node in new]
        for node, answer in asked:
            self._known[node["NodeID"]] = self._heard(node, answer)
        return [found for node in there if (found := self._known[node["NodeID"]]) is not None]

    def _wanted(self, node: Mapping[str, Any]) -> bool:
        labels = node.get("Labels") or {}
        return all(labels.get(name) == value for name, value in self._labels.items())

    def _ask(self, node_id: str) -> Any:
        task = self._ray.remote(num_cpus=0, max_retries=0)(look)
        return task.options(scheduling_strategy=pinned(node_id)).remote()

    def _heard(self, node: Mapping[str, Any], answer: Any) -> Node | None:
        """The node with its answer; None, with a note, when it cannot be used."""
        address = node["NodeManagerAddress"]
        try:
            told = self._ray.get(answer, timeout=LOOK_S)
        except self._ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self._progress.note(f"node {address} is left out: {lines[-1].strip()[:200]}; it needs quantcheck in the "
                                "interpreter that Ray was started with")
            return None
        if (told["version"], told["harness"]) != (quantcheck.__version__, HARNESS):
            self._progress.note(f"node {address} is left out: it has quantcheck {told['version']}, and this is "
                                f"{quantcheck.__version__}; install the same on both")
            return None
        if told["niceness"] > 0:
            self._progress.note(f"node {address} runs tasks at niceness {told['niceness']}, behind all other programs: "
                                "start its Ray with RAY_worker_niceness=0")
        has = node["Resources"]
        return Node(node["NodeID"], address, int(has.get("CPU", 0)), int(has.get("GPU", 0)),
                    int(has.get("memory", 0)), told)

    def first(self) -> list[Node]:
        """As `alive`; raises `MeasurementError` when there is none."""
        nodes = self.alive()
        if not nodes:
            wanted = "".join(f" with label {name}={value}" for name, value in self._labels.items())
            raise MeasurementError(f"--on ray: the cluster has no node{wanted} that can be used; see `ray status`")
        return nodes


def pinned(node_id: str) -> Any:
    """Ray's way to say: on this node, or not at all."""


    strategies = importlib.import_module("ray.util.scheduling_strategies")
    return strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
