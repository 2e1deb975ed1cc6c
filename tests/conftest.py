"""Experiments on the fake engine, run as a user runs them: in a process of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

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

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "quantcheck", *args]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run quantcheck in `tmp_path`; everything it started must be gone when it returns."""

    def go(*args: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        before = set(psutil.pids())
        done = subprocess.run(command(*args), cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
                              env={**os.environ, "QUANTCHECK_CACHE": str(tmp_path / "cache"), **environment})
        assert "Traceback" not in done.stderr, done.stderr
        assert left_running(before) == []
        return done

    return go


def left_running(before: set[int]) -> list[str]:
    """Command lines of processes of ours that are still there and were not there `before`."""
    return [" ".join(line) for line in _ours(before)]


def _ours(before: set[int]) -> Iterator[list[str]]:
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if process.pid not in before and process.info["status"] != psutil.STATUS_ZOMBIE \
                and any("quantcheck" in word for word in line) and any("python" in word for word in line[:1]):
            yield line


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., Path]:
    """Write an experiment on the fake engine."""

    def write(engine: str = "", blocks: int = 2, name: str = "exp", more: str = "") -> Path:
        file = tmp_path / f"{name}.yaml"
        file.write_text(FAKE % (engine, blocks) + more)
        return file

    return write
