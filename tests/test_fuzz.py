"""What fuzzing found stays found: every kept input, and small damage to each, through the targets of fuzz/."""

import random
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "fuzz"
sys.path.insert(0, str(FUZZ))

from targets import TARGETS, inputs  # noqa: E402

INPUTS = [(target, file) for target in TARGETS for file in inputs(target)]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.FOLDER", tmp_path)


def test_every_target_has_inputs() -> None:
    assert {target for target, _ in INPUTS} == set(TARGETS)


@pytest.mark.parametrize(("target", "file"), INPUTS, ids=[f"{target}/{file.name}" for target, file in INPUTS])
def test_an_input_is_read_or_refused(target: str, file: Path) -> None:
    TARGETS[target](file.read_bytes())


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_damage_is_read_or_refused(name: str) -> None:
    draw = random.Random(0)
    for file in inputs(name):
        data = bytearray(file.read_bytes())
        for _ in range(5):
            damaged = bytearray(data)
            for _ in range(draw.randint(1, 4)):
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
            TARGETS[name](bytes(damaged[: draw.choice([None, len(damaged) // 2])]))


def test_a_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.read_trace", lambda path: [][0])
    with pytest.raises(IndexError):
        TARGETS["trace"](b"x")
