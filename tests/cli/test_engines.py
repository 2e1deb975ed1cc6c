"""`quantcheck engines`: list, install, remove; mistakes; two at once; a kill amid an install. No network."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from quantcheck import environments
from quantcheck.cli.engines import command
from quantcheck.environments import lock
from quantcheck.environments.uv import find_uv
from quantcheck.errors import EngineUnavailable
from tests.environments.tiny import variables, write_lock

# The real command with other locks; uv is then the first one on the PATH.
CHILD = """
import sys
from pathlib import Path
from quantcheck.environments import lock
lock.LOCKS = Path(sys.argv.pop(1))
sys.modules["uv"] = None
from quantcheck.cli import main
main()
"""
WAIT_S = 60.0


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the lock of `transformers` names one local wheel."""
    path = write_lock(tmp_path)
    for name in lock.NAMES:
        if name != "transformers":
            shutil.copy(lock.LOCKS / f"{name}.txt", path.parent)
    monkeypatch.setattr(lock, "LOCKS", path.parent)
    for name, value in variables(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def uv_on_path(folder: Path, before_install: str = "") -> dict[str, str]:
    """A PATH whose `uv` is the real one, which does something before it installs packages."""
    bin_ = folder / "bin"
    bin_.mkdir()
    (bin_ / "uv").write_text(
        f"#!/bin/sh\nif [ $1 = pip ]; then\n{before_install or ':'}\nfi\nexec {find_uv()} \"$@\"\n")
    (bin_ / "uv").chmod(0o755)
    return {"PATH": f"{bin_}:/usr/bin:/bin"}


def start(folder: Path, *args: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", CHILD, str(folder / "locks"), "engines", *args],
                            env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)


def mistake(folder: Path, *args: str, **environment: str) -> str:
    """The one line that a mistake ends with."""
    process = start(folder, *args, **environment)
    _, said = process.communicate(timeout=WAIT_S)
    line, = said.splitlines()
    assert process.returncode == 2
    assert line.startswith("quantcheck: ")
    return line


def engines(*args: str) -> list[str]:
    done = CliRunner().invoke(command, args, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output.splitlines()


def test_install_list_and_remove(tiny: Path) -> None:
    assert [line[:15].strip() for line in engines() if line[0] != " "] == [*environments.NAMES, "llama.cpp wheel"]
    assert "not installed -> quantcheck engines install transformers" in "\n".join(engines())
    first = engines("install", "transformers")
    assert "transformers: installing packages" in first
    python = environments.python_of("transformers")
    assert str(python) in first[-1]
    assert engines("install", "transformers")[0] == "transformers: already installed"
    line, = (line for line in engines() if " installed: " in line)
    assert "transformers 1.0;" in line
    assert line.endswith(str(python))
    done = subprocess.run([python, "-c", "import transformers; print(transformers.here)"], capture_output=True,
                          text=True, check=True)
    assert done.stdout == "1\n"
    assert engines("remove", "transformers", "vllm") == ["transformers: removed", "vllm: was not installed"]
    assert not python.exists()


def test_an_older_lock_is_told(tiny: Path) -> None:
    engines("install", "transformers")
    (tiny / "locks" / "transformers.txt").write_text("# python: >=3.11,<3.14\n# newer\ntransformers==1.0\n")
    assert any("installed (of an older lock: install again): transformers 1.0" in line for line in engines())


def test_an_unknown_name_installs_nothing(tiny: Path) -> None:
    for verb in ("install", "remove"):
        assert "no environment 'vlm'; known: vllm," in mistake(tiny, verb, "transformers", "vlm")
    assert environments.installed() == []


def test_without_uv(tiny: Path) -> None:
    assert mistake(tiny, "install", "transformers", PATH=str(tiny)).endswith("is not there; pip install uv")


def test_a_package_that_cannot_be_had(tiny: Path) -> None:
    next((tiny / "wheels").iterdir()).unlink()
    said = mistake(tiny, "install", "transformers", **uv_on_path(tiny))
    assert "could not be made (" in said
    assert "transformers was not found" in said
    assert environments.installed() == []


def test_a_cache_that_cannot_be_written(tiny: Path) -> None:
    (tiny / "file").write_text("")
    said = mistake(tiny, "install", "transformers", **uv_on_path(tiny), QUANTCHECK_CACHE=str(tiny / "file"))
    assert str(tiny / "file") in said


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system of limited size")
def test_a_full_disk(tiny: Path) -> None:
    small = tiny / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(small)], capture_output=True,
                             check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small tmpfs is not allowed here")
    try:
        said = mistake(tiny, "install", "transformers", **uv_on_path(tiny), QUANTCHECK_CACHE=str(small))
        assert f"no space left on the disk of {small}" in said
        assert not list(small.glob("environments/.*.making"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_two_installs_at_once_make_one_environment(tiny: Path) -> None:
    given = uv_on_path(tiny, f"echo once >> {tiny / 'calls'}; sleep 1")
    both = [start(tiny, "install", "transformers", **given) for _ in range(2)]
    said = [process.communicate(timeout=WAIT_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert (tiny / "calls").read_text() == "once\n"
    assert sorted("already installed" in out for out, _ in said) == [False, True]
    assert len(environments.installed()) == 1


def test_a_kill_amid_an_install_leaves_nothing_that_counts(tiny: Path) -> None:
    process = start(tiny, "install", "transformers", **uv_on_path(tiny, f": > {tiny / 'amid'}; sleep 300"))
    try:
        end = time.monotonic() + WAIT_S
        while not (tiny / "amid").exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        started = psutil.Process(process.pid).children(recursive=True)
        assert "sleep" in [child.name() for child in started]
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=WAIT_S)
    half, = (tiny / "cache" / "environments").glob(".*.making")
    assert environments.installed() == []
    with pytest.raises(EngineUnavailable, match="not installed"):
        environments.python_of("transformers")
    # What ran for it ended with it, so that it cannot write into the next one.
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert "transformers: installing packages" in engines("install", "transformers")
    assert not half.exists()
    assert environments.python_of("transformers").exists()
