"""What machine and software a run was measured on. No host name, user name or path is recorded."""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

__all__ = ["CPU_FLAGS", "PACKAGES", "environment", "gpus", "hardware_id"]

CPU_FLAGS = (
    "avx", "avx2", "fma", "f16c", "bmi2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "sve",
)
"""Instruction sets that decide how fast quantized arithmetic is; those present are recorded."""
PACKAGES = ("quantcheck", "xllamacpp", "gguf", "numpy", "scipy", "aiohttp", "psutil", "tokenizers", "torch", "vllm",
            "transformers", "llmcompressor", "lm_eval")
GIB = 1 << 30
NVIDIA_SMI_S = 20.0


def environment() -> dict[str, Any]:
    """The fingerprint, JSON values only; what cannot be found out is None, what is not there is left out."""
    cards = gpus()
    return {
        "hardware_id": _hardware_id(cards),
        "cpu": cpu_model(),
        "cpu_flags": cpu_flags(),
        "cores": psutil.cpu_count(logical=False),
        "threads": psutil.cpu_count(),
        "usable_threads": usable_threads(),
        "cpu_limit": _cgroup_cpus(),
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "ram_bytes": psutil.virtual_memory().total,
        "virtual": virtual(),
        "gpus": cards,
        "os": _os_name(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "packages": packages(),
    }


def hardware_id() -> str:
    """16 hex digits of a hash over CPU model, threads, and the GPUs' names or, without a GPU, RAM (to whole GiB).

    Figures of unlike ones are not mixed. On a GPU machine the RAM does not count: microVMs with GPUs start with little
    of it and are given more as they use it.
    """
    return _hardware_id(gpus())


def _hardware_id(cards: Sequence[Mapping[str, str]]) -> str:
    names = [card["name"] for card in cards]
    ram = round(psutil.virtual_memory().total / GIB)
    text = "\0".join(map(str, [cpu_model(), psutil.cpu_count(), *(names or [str(ram)])]))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cpu_model() -> str:
    """The CPU's name as the system gives it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Those of `CPU_FLAGS` that this CPU has."""
    present = set((_cpuinfo("flags") or _cpuinfo("Features") or "").split())
    return [flag for flag in CPU_FLAGS if flag in present]


def usable_threads() -> int:
    """Hardware threads that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def virtual() -> str | None:
    """`container`, `virtual machine`, or None when nothing hints at either."""
    if any(Path(name).exists() for name in ("/.dockerenv", "/run/.containerenv")):
        return "container"
    if any(word in (_read(Path("/proc/1/cgroup")) or "") for word in ("docker", "kubepods", "lxc", "containerd")):
        return "container"
    return "virtual machine" if "hypervisor" in (_cpuinfo("flags") or "").split() else None


def gpus() -> list[dict[str, str]]:
    """One entry per NVIDIA GPU (name, memory, driver), by nvidia-smi; empty without it."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    fields = ("name", "memory.total", "driver_version")
    try:
        answer = subprocess.run(
            [command, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=NVIDIA_SMI_S, check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(", ") for line in answer.stdout.splitlines() if line.strip()]
    return [dict(zip(("name", "memory", "driver"), row, strict=False)) for row in rows]


def packages() -> dict[str, str]:
    """Versions of those of `PACKAGES` that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def _cpuinfo(key: str) -> str | None:
    """The first value of `key` in /proc/cpuinfo."""
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _cgroup_cpus() -> float | None:
    """The CPU quota of a container in cores (cgroup v2); None when there is no limit."""
    quota, _, period = (_read(Path("/sys/fs/cgroup/cpu.max")) or "max").partition(" ")
    return None if quota == "max" else int(quota) / int(period or 100_000)


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)
