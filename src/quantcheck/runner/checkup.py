"""What this machine can run: CPU, memory, disk, engines, quantizers, GPU; each with what to do about it."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from quantcheck import environments
from quantcheck.errors import EngineUnavailable
from quantcheck.ggml import library
from quantcheck.telemetry.environment import cpu_flags, cpu_model, gpus, usable_threads
from quantcheck.telemetry.host import disk_free_bytes, host_load
from quantcheck.variants.artifact import cache_root

__all__ = ["Check", "checkup"]

GB = 1e9
DISK_GB = 2.0
MEMORY_GB = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer. `needed`: without it not even the default experiment runs."""

    name: str
    mark: Literal["ok", "no", "-", "!"]
    found: str
    remedy: str = ""
    needed: bool = False


def checkup() -> list[Check]:
    """Look, start nothing."""
    return list(_checks())


def _checks() -> Iterator[Check]:
    yield Check("python", "ok", f"{sys.version.split()[0]}, {sys.platform}")
    yield _cpu()
    cores = usable_threads()
    yield Check("cores", "ok" if cores > 1 else "!", f"{cores} usable: {max(1, cores - 1)} to serve, the rest to load",
                "" if cores > 1 else "engine and client share the one core: read speed ratios with care")
    memory = psutil.virtual_memory()
    enough = memory.available > MEMORY_GB * GB
    yield Check("memory", "ok" if enough else "!", f"{memory.available / GB:.1f} of {memory.total / GB:.1f} GB free",
                "" if enough else "end other programs: weights and logits want at least 2 GB")
    yield _disk("cache", cache_root())
    yield _disk("results", Path.cwd())
    busy = host_load().warning()
    yield Check("other load", "!" if busy else "ok", busy or "the machine is quiet")
    yield _llama_cpp()
    tool = shutil.which("llama-quantize")
    yield Check("llama-quantize", "ok" if tool else "-", "on the PATH" if tool else "not on the PATH",
                "" if tool else "not needed: quantcheck makes GGUF variants itself")
    yield from _environments()
    cards = gpus()
    yield Check("gpu", "ok" if cards else "-", "; ".join(card["name"] for card in cards) or "none seen by nvidia-smi",
                "" if cards else "not needed: llama.cpp runs on the CPU")


def _cpu() -> Check:
    try:
        library.check_cpu()
    except EngineUnavailable as error:
        return Check("cpu", "no", f"{cpu_model()}: {error}", needed=True)
    return Check("cpu", "ok", f"{cpu_model()}: {', '.join(cpu_flags())}")


def _disk(name: str, path: Path) -> Check:
    existing = next(folder for folder in [path, *path.parents] if folder.exists())
    free = disk_free_bytes(path) / GB
    if not os.access(existing, os.W_OK):
        return Check(f"disk, {name}", "no", f"{path} cannot be written",
                     "set QUANTCHECK_CACHE" if name == "cache" else "run in another folder, or give --out", needed=True)
    if free < DISK_GB:
        return Check(f"disk, {name}", "!", f"{free:.1f} GB free at {path}", f"free at least {DISK_GB:.0f} GB")
    return Check(f"disk, {name}", "ok", f"{free:.0f} GB free")


def _environments() -> Iterator[Check]:
    current = {one.name: one for one in environments.installed() if one.current}
    for name in environments.NAMES:
        compiles = environments.lock_of(name).source is not None
        shown = f"{name}, native" if compiles else name
        if name in current:
            one = current[name]
            yield Check(shown, "ok", ", ".join(f"{package} {version}" for package, version in one.versions.items()))
        else:
            need = "the wheel does" if compiles else "not needed for GGUF"
            yield Check(shown, "-", "not installed", f"{need}: quantcheck engines install {name}")


def _llama_cpp() -> Check:
    try:
        library.load()
    except EngineUnavailable as error:
        return Check("llama.cpp", "no", str(error), needed=True)
    found = library.versions()
    return Check("llama.cpp", "ok", ", ".join(f"{name} {found[name]}" for name in ("wheel", "llama.cpp", "ggml")))
