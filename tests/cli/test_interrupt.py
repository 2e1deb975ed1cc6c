"""A signal is obeyed while something is to be done, and comes too late when all is."""

import subprocess
import sys
from pathlib import Path

import pytest

from quantcheck import cli

PROGRAM = """
import atexit, os, sys, threading, time
from quantcheck.cli.interrupt import install

install()

def strike():
    os.kill(os.getpid(), {number})

class AtTheVeryEnd:
    def __del__(self):
        strike()

when = {when!r}
if when == "working":
    try:
        strike()
        time.sleep(10)
    except KeyboardInterrupt:
        sys.exit(130)
if when == "threads are waited for":
    threading._register_atexit(strike)
if when == "at exit":
    atexit.register(strike)
if when == "modules are taken down":
    sys.modules["kept"] = AtTheVeryEnd()
"""


@pytest.mark.parametrize("number", [2, 15])
@pytest.mark.parametrize(("when", "code"), [
    ("working", 130), ("threads are waited for", 0), ("at exit", 0), ("modules are taken down", 0),
])
def test_a_signal(when: str, code: int, number: int) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(when=when, number=number)], capture_output=True,
                          text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (code, "")


AMID_EXEC = """
import os
from quantcheck import cli

cli._cli.invoke = lambda context: exec("os.kill(os.getpid(), 2)\\nfor _ in range(10**6): pass", {"os": os})
cli.main()
"""


def test_the_exit_code_is_told_even_when_the_signal_came_amid_an_exec(tmp_path: Path) -> None:
    (tmp_path / "struck.py").write_text(AMID_EXEC)
    done = subprocess.run([sys.executable, "-m", "struck", "plan"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "quantcheck: interrupted\n")


@pytest.mark.parametrize(("verb", "told"), [
    ("run", "quantcheck: interrupted; finished cells are kept, the same command goes on from there\n"),
    ("locate", "quantcheck: interrupted\n"),
])
def test_only_a_run_is_said_to_go_on(
    verb: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "install", lambda: None)
    monkeypatch.setattr(cli._cli, "invoke", lambda _context: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr(sys, "argv", ["quantcheck", verb, "experiment.yaml"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert (stopped.value.code, capsys.readouterr().err) == (130, told)
