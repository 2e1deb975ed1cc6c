"""The fingerprint is complete, is JSON, says nothing about who runs it, and tells machines apart."""

import getpass
import json
import platform
import socket
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from quantcheck.telemetry import environment as module
from quantcheck.telemetry.environment import environment, gpus, hardware_id


def test_is_json_and_names_what_decides_speed() -> None:
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["cpu"]
    assert found["usable_threads"] >= 1
    assert found["ram_bytes"] == psutil.virtual_memory().total
    assert found["python"] == platform.python_version()
    assert {"numpy", "psutil", "xllamacpp"} <= set(found["packages"])
    assert found["hardware_id"] == hardware_id()


def test_tells_neither_host_nor_user_nor_home() -> None:
    text = json.dumps(environment())
    assert f'"{socket.gethostname()}"' not in text
    assert f'"{getpass.getuser()}"' not in text
    assert str(Path.home()) + "/" not in text


def test_hardware_id_depends_on_cpu_threads_and_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 1 << 30

    def of(cpu: str, threads: int, ram: float) -> str:
        monkeypatch.setattr(module, "cpu_model", lambda: cpu)
        monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: threads)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=ram * gib))
        return hardware_id()

    assert of("A", 8, 32.0) == of("A", 8, 31.8)  # what a kernel keeps for itself varies
    assert len({of("A", 8, 32.0), of("B", 8, 32.0), of("A", 4, 32.0), of("A", 8, 64.0)}) == 4


def test_hardware_id_with_gpus_depends_on_them_and_not_on_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(names: list[str], gib: int) -> str:
        monkeypatch.setattr(module, "gpus", lambda: [{"name": name} for name in names])
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=gib << 30))
        return hardware_id()

    assert of(["A100"], 31) == of(["A100"], 255)  # memory that is plugged in while the machine runs
    assert len({of(["A100"], 31), of(["H200"], 31), of(["A100", "A100"], 31), of([], 31)}) == 4


def test_flags_and_model_come_from_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 fma hypervisor\n\nmodel name\t: other\n"
    monkeypatch.setattr(module, "_read", lambda path: text if path == Path("/proc/cpuinfo") else None)
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert module.cpu_model() == "Some CPU"
    assert module.cpu_flags() == ["avx2", "fma"]
    assert module.virtual() == "virtual machine"


@pytest.mark.parametrize(("text", "cores"), [("max 100000", None), ("150000 100000", 1.5), (None, None)])
def test_a_container_may_have_a_quota(monkeypatch: pytest.MonkeyPatch, text: str | None, cores: float | None) -> None:
    monkeypatch.setattr(module, "_read", lambda path: text)
    assert module._cgroup_cpus() == cores


def test_gpus_by_nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB, 570.1'\necho 'NVIDIA H200, 143771 MiB, 570.1'\n")
    tool.chmod(0o755)
    assert gpus() == [{"name": "NVIDIA H200", "memory": "143771 MiB", "driver": "570.1"}] * 2
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert gpus() == []
