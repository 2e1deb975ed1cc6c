"""Progress on a real terminal (a pseudo-terminal): a bar while it runs, the verdict after it, the screen left clean."""

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import command


class Terminal:
    """quantcheck on a pseudo-terminal of 100 columns."""

    def __init__(self, *args: str, folder: Path) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(command(*args), cwd=folder, stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True,
                                        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"})
        os.close(slave)
        self.screen = b""

    def read(self, until: bytes | None = None, seconds: float = 120) -> str:
        """Everything written until `until` appears, or until the process ends."""
        deadline = time.monotonic() + seconds
        while until is None or until not in self.screen:
            assert time.monotonic() < deadline, self.screen[-2000:]
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            self.screen += data
        return self.screen.decode("utf-8", "replace")

    def finish(self) -> str:
        text = self.read()
        self.process.wait(timeout=60)
        os.close(self._master)
        return text


@pytest.fixture
def terminal(tmp_path: Path, fake: Callable[..., Path]) -> Callable[..., Terminal]:
    def start(blocks: int) -> Terminal:
        fake(blocks=blocks)
        return Terminal("run", "exp.yaml", folder=tmp_path)

    return start


def test_a_bar_and_then_the_verdict(terminal: Callable[..., Terminal]) -> None:
    shown = terminal(blocks=4)
    text = shown.finish()
    assert shown.process.returncode == 0
    assert "Traceback" not in text
    assert "short@c1  block 1" in text
    assert "left" in text
    assert "/48" in text
    assert "Verdicts" in text.split("\x1b[?25h")[-1], "the verdict comes after the bar has given the cursor back"


def test_ctrl_c_gives_the_terminal_back(terminal: Callable[..., Terminal]) -> None:
    shown = terminal(blocks=20)
    shown.read(until=b"block 2")
    os.killpg(shown.process.pid, signal.SIGINT)
    text = shown.finish()
    assert shown.process.returncode == 130
    assert "Traceback" not in text
    assert text.rstrip().endswith("the same command goes on from there")
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
