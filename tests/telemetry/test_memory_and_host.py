"""Memory of a process tree, how busy the machine is, and room on the disk."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from quantcheck.telemetry import host
from quantcheck.telemetry.host import HostLoad, disk_free_bytes
from quantcheck.telemetry.memory import process_memory

MB = 1_000_000
HOLD = "held = bytearray({size}); {more}; print('up', flush=True); import time; time.sleep(600)"


def start(code: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "up"
    return process


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A process with 50 MB and a child with 30 MB."""
    child = HOLD.format(size=30 * MB, more="pass")
    more = (f"import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', {child!r}], "
            "stdout=subprocess.PIPE, text=True); c.stdout.readline()")
    process = start(HOLD.format(size=50 * MB, more=more))
    yield process
    for member in psutil.Process(process.pid).children(recursive=True):
        member.kill()
    process.kill()
    process.communicate()


def test_a_tree_is_added_up(family: subprocess.Popen[str]) -> None:
    found = process_memory(family.pid)
    assert found["processes"] == 2
    assert found["missing"] is None
    assert isinstance(found["rss_bytes"], int)
    assert isinstance(found["pss_bytes"], int)
    assert 80 * MB < found["pss_bytes"] <= found["rss_bytes"] < 200 * MB


def test_what_may_not_be_read_is_missing_not_zero(
    family: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: psutil.Process) -> None:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "memory_full_info", denied)
    found = process_memory(family.pid)
    assert found["pss_bytes"] is None
    assert "not permitted" in str(found["missing"])
    assert isinstance(found["rss_bytes"], int)


def test_a_process_that_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert process_memory(process.pid) == {
        "rss_bytes": None, "pss_bytes": None, "processes": 0, "missing": f"process {process.pid} is gone"}


def test_our_own_work_is_not_the_host_load() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        counted = {pid for pid, _ in host._cpu_times()}
    finally:
        process.kill()
        process.wait()
    assert counted
    assert not counted & {os.getpid(), process.pid}


def test_a_quiet_sample_is_a_share_of_the_machine() -> None:
    found = host.host_load(0.05)
    assert found.threads == psutil.cpu_count()
    assert 0 <= found.others <= found.threads + 1
    assert len(found.busiest) <= 3


def test_a_warning_names_the_busiest() -> None:
    assert HostLoad(0.1, 2, (), 0.0).warning() is None
    text = HostLoad(1.3, 2, (("ffmpeg", 0.9), ("cc1plus", 0.4)), 1.0).warning()
    assert text is not None
    assert text.startswith("other programs use 1.3 of 2 CPU threads (ffmpeg 90%, cc1plus 40%)")


def test_disk_of_a_place_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert disk_free_bytes(tmp_path / "a" / "b") > 0
