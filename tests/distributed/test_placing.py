"""Where steps go, without Ray: what is held, what is kept apart, and what an engine needs."""

import random
from typing import Any

import pytest

from quantcheck.distributed.needs import Needs, needs_of
from quantcheck.distributed.nodes import Node
from quantcheck.distributed.placing import Board, Lane, Place, fits
from quantcheck.spec.experiment import Experiment
from quantcheck.variants.artifact import Artifact


def node(name: str, *, cpus: int = 4, gpus: int = 0, host: str | None = None, hardware: str = "h") -> Node:
    told = {"boot": host or name, "environment": {"hardware_id": hardware, "gpus": [{"name": "G"}] * gpus}}
    return Node(name, name, cpus, gpus, 1 << 30, told)


ALL = Needs(0, None, 0)


def test_quality_is_spread_and_then_packed() -> None:
    board, nodes = Board(), [node("a", gpus=2), node("b", gpus=2)]
    needs = Needs(1, 1, 0)
    places = [board.take(Lane([n], "quality"), needs, nodes, None) for n in range(5)]
    taken = [place for place in places if place is not None]
    assert [place.node.id for place in taken] == ["a", "b", "a", "b"]
    assert [place.slot for place in taken] == [0, 0, 1, 1]
    board.free(taken[0])
    again = board.take(Lane([9], "quality"), needs, nodes, None)
    assert again is not None
    assert (again.node.id, again.slot) == ("a", 0)


def test_two_speed_steps_are_never_on_one_host() -> None:
    board = Board()
    nodes = [node("a", host="one"), node("b", host="one"), node("c", host="two")]
    hardware = nodes[0].hardware
    first = board.take(Lane([0], "load"), ALL, nodes, hardware)
    second = board.take(Lane([1], "load"), ALL, nodes, hardware)
    assert first is not None
    assert second is not None
    assert {first.node.host, second.node.host} == {"one", "two"}
    assert board.take(Lane([2], "load"), ALL, nodes, hardware) is None
    assert board.take(Lane([3], "quality"), Needs(0, 1, 0), nodes, hardware) is None, "nor quality beside speed"


def test_a_block_stays_on_its_node_and_on_like_hardware() -> None:
    board, nodes = Board(), [node("a"), node("b"), node("c", hardware="other")]
    hardware = nodes[0].hardware
    lane = Lane([0, 1], "load", pin="b")
    place = board.take(lane, ALL, nodes, hardware)
    assert place is not None
    assert place.node.id == "b"
    board.free(place)
    assert board.take(lane, ALL, [nodes[0], nodes[2]], hardware) is None
    lane.pin = None
    place = board.take(lane, ALL, [nodes[2]], hardware)
    assert place is None


def test_whatever_is_placed_and_freed_no_node_holds_more_than_it_has() -> None:
    draw = random.Random(7)
    board = Board()
    nodes = [node(f"n{k}", cpus=draw.randint(1, 8), gpus=draw.randint(0, 4), host=f"h{k // 2}") for k in range(6)]
    held: list[Place] = []
    placed = 0
    for _ in range(2000):
        if held and draw.random() < 0.45:
            board.free(held.pop(draw.randrange(len(held))))
            continue
        kind = draw.choice(["quality", "load"])
        cpus = None if kind == "load" else draw.choice([None, 1, 2])
        needs = Needs(draw.randint(0, 2), cpus, draw.choice([0, 1 << 28]))
        place = board.take(Lane([0], kind), needs, nodes, draw.choice(nodes).hardware)
        if place is not None:
            assert fits(place.node, needs)
            held.append(place)
            placed += 1
        for one in nodes:
            here = [other for other in held if other.node is one]
            assert sum(other.cpus for other in here) <= one.cpus
            assert sum(other.gpus for other in here) <= one.gpus
            assert sum(other.memory for other in here) <= one.memory
            assert len({other.slot for other in here}) == len(here)
        for host in {one.host for one in nodes}:
            there = [other for other in held if other.node.host == host]
            assert len(there) <= 1 or all(other.kind == "quality" for other in there)
    assert placed > 200


@pytest.mark.parametrize(("engine", "kind", "gpus_there", "expected"), [
    ({"kind": "vllm", "args": {"tensor-parallel-size": 2, "pipeline-parallel-size": 2}}, "quality", True, (4, 4, 0)),
    ({"kind": "vllm", "args": {"tensor-parallel-size": 2}}, "load", True, (2, None, 0)),
    ({"kind": "vllm"}, "quality", False, (0, None, 70)),
    ({"kind": "transformers", "device": "cpu", "threads": 3}, "quality", True, (0, 3, 70)),
    ({"kind": "transformers"}, "quality", True, (1, 1, 0)),
    ({"kind": "llama.cpp", "scoring_threads": 2}, "quality", True, (0, 2, 70)),
    ({"kind": "llama.cpp"}, "quality", True, (0, None, 70)),
    ({"kind": "llama.cpp", "scoring_threads": 2}, "load", True, (0, None, 70)),
])
def test_what_an_engine_needs(engine: dict[str, Any], kind: Any, gpus_there: bool, expected: tuple[Any, ...]) -> None:
    scheme = "gguf/F16" if engine["kind"] == "llama.cpp" else "none"
    experiment = Experiment.model_validate({
        "name": "x", "model": "reference", "baseline": "a", "variants": {"a": {"scheme": scheme}}, "engine": engine,
        "quality": {"suites": ["reference/stories"]},
    })
    artifact = Artifact.none("a")
    artifact = Artifact("a", artifact.path, {**artifact.recipe, "bytes": 70})
    needs = needs_of(experiment, "a", artifact, kind, gpus_there=gpus_there)
    assert (needs.gpus, needs.cpus, needs.memory) == expected
