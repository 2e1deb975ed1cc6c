"""What fuzzing found stays found: every kept input, and small damage to each, through the targets of fuzz/."""

import random
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "fuzz"
sys.path.insert(0, str(FUZZ))

from targets import TARGETS  # noqa: E402

CORPUS = sorted((FUZZ / "corpus").glob("*/*"))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.FOLDER", tmp_path)


def test_every_target_has_inputs() -> None:
    assert {file.parent.name for file in CORPUS} == set(TARGETS)


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_an_input_is_read_or_refused(file: Path) -> None:
    TARGETS[file.parent.name](file.read_bytes())


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_damage_is_read_or_refused(name: str) -> None:
    draw = random.Random(0)
    for file in CORPUS:
        if file.parent.name != name:
            continue
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
