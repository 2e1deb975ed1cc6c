"""What a user can do wrong, through the real command: one clear line, the right exit code, nothing left behind."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quantcheck.store import Store
from quantcheck.store.sealed import sealed
from tests.conftest import Run


def one_line(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    """The error that quantcheck ended with: a single line, the last one."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("quantcheck: ")]
    assert done.returncode == code, (done.returncode, done.stderr)
    assert len(lines) == 1, done.stderr
    assert lines[0] == done.stderr.splitlines()[-1]
    return lines[0]


def cells(folder: Path) -> int:
    return len(list(Store(folder).cells()))


def test_a_wrong_key(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    fake(more="enginee: {}\n")
    assert "unknown key 'enginee'; did you mean 'engine'?" in one_line(run("run", "exp.yaml"), 2)
    assert not (tmp_path / "results").exists()


def test_a_missing_model(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    text = fake().read_text().replace("model: none", "model: ./no-such-model")
    (tmp_path / "exp.yaml").write_text(text.replace("kind: fake, ttft_ms: 4, itl_ms: 1", "kind: llama.cpp"))
    assert "no-such-model" in one_line(run("run", "exp.yaml"), 2)


def test_a_corrupt_gguf(tmp_path: Path, run: Run, fake: Callable[..., Path]) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(range(200)))
    (tmp_path / "exp.yaml").write_text(
        "model: reference\nbaseline: a\nvariants:\n  a: {checkpoint: bad.gguf}\n"
        "load: {workloads: {s: {prompt_tokens: 8, output_tokens: 4}}}\nblocks: 1\n")
    assert "bad.gguf" in one_line(run("run", "exp.yaml"), 2)


def test_an_unknown_preset(run: Run) -> None:
    assert "did you mean 'gguf-ladder'?" in one_line(run("run", "gguf-lader"), 2)


def test_an_unknown_verb(run: Run) -> None:
    done = run("rnu")
    assert done.returncode == 2
    assert "did you mean 'run'?" in done.stderr


def test_a_port_in_use(fake: Callable[..., Path], run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        fake(engine=f", port: {port}")
        assert str(port) in one_line(run("run", "exp.yaml"), 2)


def test_an_engine_that_never_becomes_healthy(fake: Callable[..., Path], run: Run) -> None:
    fake(engine=", fault: never-healthy, start_timeout_s: 1")
    assert "not healthy within 1 s" in one_line(run("run", "exp.yaml"), 1)


def test_an_engine_that_dies_keeps_earlier_cells(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    fake(blocks=1)
    assert run("run", "exp.yaml").returncode == 0
    before = cells(tmp_path / "results" / "exp")
    fake(blocks=2, engine=", fault: 'die-after:20'")
    one_line(run("run", "exp.yaml"), 1)
    assert cells(tmp_path / "results" / "exp") >= before > 0


@pytest.mark.alone
def test_two_runs_at_once(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    fake(blocks=20)
    first = subprocess.Popen([sys.executable, "-m", "quantcheck", "run", "exp.yaml", "-q"], cwd=tmp_path)
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "results" / "exp" / "cells").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)
        done = subprocess.run([sys.executable, "-m", "quantcheck", "run", "exp.yaml", "-q"], cwd=tmp_path,
                              capture_output=True, text=True, timeout=60, check=False)
        assert "another quantcheck is writing here" in one_line(done, 2)
    finally:
        first.terminate()
        assert first.wait(timeout=30) == 130


def test_results_of_another_machine_are_not_mixed(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    fake(blocks=1)
    assert run("run", "exp.yaml").returncode == 0
    document = tmp_path / "results" / "exp" / "experiment.json"
    document.write_text(json.dumps(sealed({**json.loads(document.read_text()), "hardware_id": "another"})))
    assert "another machine" in one_line(run("run", "exp.yaml"), 2)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system of limited size")
def test_a_full_disk(tmp_path: Path, fake: Callable[..., Path], run: Run) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(small)],
                             capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small tmpfs is not allowed here")
    try:
        fake(blocks=30)
        message = one_line(run("run", "exp.yaml", "--out", str(small / "out")), 2)
        assert "free disk space" in message or "No space left" in message
        kept = cells(small / "out")
        assert kept > 0
        for cell in Store(small / "out").cells():
            assert len(cell.table("requests")["request"]) > 0
        assert list((small / "out" / "cells").glob(".*")) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
