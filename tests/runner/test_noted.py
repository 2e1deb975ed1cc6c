"""What a run leaves of what it has in hand."""

import json
import shutil
from pathlib import Path

import pytest

from quantcheck.runner import noted
from quantcheck.runner.noted import Noted
from quantcheck.runner.progress import Progress, Silent


class Heard(Silent):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def step(self, variant: str, subject: str, done: int, of: int, block: int = 0) -> None:
        self.steps.append(done)


def test_a_new_cell_is_written_at_once_and_its_steps_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, heard = tmp_path / "progress.json", Heard()
    progress: Progress = Noted(heard, file)
    assert json.loads(file.read_text()) == {"doing": "starting"}
    progress.preparing("quantizing Q8_0")
    assert json.loads(file.read_text()) == {"doing": "quantizing Q8_0"}
    monkeypatch.setattr(noted, "EVERY_S", 1e9)
    for done in range(3):
        progress.step("a", "s@c1", done, 9, 1)
    place = {"variant": "a", "subject": "s@c1", "block": 1}
    assert json.loads(file.read_text()) == {**place, "done": 0, "of": 9}
    monkeypatch.setattr(noted, "EVERY_S", 0.0)
    progress.step("a", "s@c1", 3, 9, 1)
    assert json.loads(file.read_text()) == {**place, "done": 3, "of": 9}
    progress.step("b", "s@c1", 0, 9, 1)
    assert json.loads(file.read_text())["variant"] == "b"
    assert heard.steps == [0, 1, 2, 3, 0], "who shows it is told everything"
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]


def test_a_run_does_not_end_because_it_cannot_be_noted(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    progress = Noted(Silent(), folder / "progress.json")
    shutil.rmtree(folder)
    progress.begin([], 0)
    progress.step("a", "s", 0, 1)
    assert not folder.exists()
