"""Experiments on the fake engine, run as a user runs them: in a process of their own."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from quantcheck import environments

FAKE = """\
model: none
baseline: a
variants:
  a: {scheme: gguf/F16}
  b: {scheme: gguf/Q8_0}
engine: {kind: fake, ttft_ms: 4, itl_ms: 1%s}
load:
  workloads:
    short: {prompt_tokens: 8, output_tokens: 6}
    long: {prompt_tokens: 32, output_tokens: 6}
  concurrency: [1, 3]
  requests: 9
  warmup_requests: 1
blocks: %d
"""

pytest_plugins = ["tests.turns"]

# A shell's background job starts with Ctrl-C ignored, and the programs that the tests interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MARK = "QUANTCHECK_TEST_RUN"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "quantcheck", *args]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run quantcheck in `tmp_path`; everything it started must be gone when it returns."""

    def go(*args: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(command(*args), cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
                              env={**os.environ, "QUANTCHECK_CACHE": str(tmp_path / "cache"), **environment})
        assert "Traceback" not in done.stderr, done.stderr
        assert left_running() == []
        return done

    return go


def needs_environment(name: str) -> Path:
    """The interpreter of an environment that `make test` has made.

    Without it a test fails, saying how to make it; only QUANTCHECK_SKIP_VLLM=1 skips what needs one.
    """
    if os.environ.get("QUANTCHECK_SKIP_VLLM") == "1":
        pytest.skip("QUANTCHECK_SKIP_VLLM=1")
    return environments.python_of(name)


def real_data(path: str) -> Path:
    """`path` in the folder of real data: QUANTCHECK_SHARED_DATA, or `shared/data` beside the checkout or above it.

    Without it, the test is skipped.
    """
    named = os.environ.get("QUANTCHECK_SHARED_DATA")
    folder = Path(named) if named else next(
        (p / "shared/data" for p in Path(__file__).parents if (p / "shared/data").is_dir()), None)
    if folder is None or not (folder / path).exists():
        pytest.skip(f"no {path} in QUANTCHECK_SHARED_DATA or in a shared/data beside the checkout")
    return folder / path


@pytest.fixture(autouse=True, scope="session")
def mark() -> Iterator[str]:
    """A mark in the environment of all that the tests start: others may run quantcheck on this machine, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, uuid.uuid4().hex)
        yield os.environ[MARK]


def left_running() -> list[str]:
    """Command lines of processes that these tests started and that are still there."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.pid != os.getpid() and process.environ().get(MARK) == os.environ[MARK] \
                    and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
    return found


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., Path]:
    """Write an experiment on the fake engine."""

    def write(engine: str = "", blocks: int = 2, name: str = "exp", more: str = "") -> Path:
        file = tmp_path / f"{name}.yaml"
        file.write_text(FAKE % (engine, blocks) + more)
        return file

    return write
