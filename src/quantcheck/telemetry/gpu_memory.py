"""Seeing a GPU's memory free again once an engine is gone.

The driver takes memory back a moment after the process has ended; a process that was left behind keeps it for good.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

from quantcheck.telemetry.gpu_record import ROSE_BYTES
from quantcheck.telemetry.nvml import close_nvml, open_nvml, processes_on

__all__ = ["GpuMemory", "Held", "memory_in_use", "wait_free"]

FREE_S = 30.0
"""How long after an engine's end its memory may still be in use."""
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Held:
    """What a GPU holds above what it held before.

    `gpu`: number and name; `pids`: who computes there, as far as NVML tells and this pid namespace knows them.
    """

    gpu: str
    bytes: int
    pids: tuple[int, ...]

    def __str__(self) -> str:
        named = f"process{'es' * (len(self.pids) > 1)} {', '.join(map(str, self.pids))}"
        return f"{self.gpu}: {self.bytes / 2**30:.2f} GiB ({named if self.pids else 'NVML names no process'})"


def memory_in_use() -> dict[str, int]:
    """Bytes in use on each visible GPU, by UUID; {} without NVML, and without a GPU that does not tell."""
    opened = open_nvml()
    if opened is None:
        return {}
    nvml, gpus = opened
    used = {}
    for gpu in gpus:
        with suppress(Exception):
            used[gpu.uuid] = int(nvml.nvmlDeviceGetMemoryInfo(gpu.handle).used)
    close_nvml(nvml)
    return used


def wait_free(before: Mapping[str, int], timeout_s: float, slack_bytes: int = ROSE_BYTES) -> dict[str, Held]:
    """Waits until no GPU holds over `slack_bytes` more than in `before` (from `memory_in_use`), at most `timeout_s`.

    Returns what is still held then, by the GPU's UUID; {} when all is free.
    """
    end = time.monotonic() + timeout_s
    while before:
        now = memory_in_use()
        held = {uuid: now[uuid] - was for uuid, was in before.items()
                if uuid in now and now[uuid] - was > slack_bytes}
        if not held:
            break
        if time.monotonic() >= end:
            return _holders(held)
        time.sleep(POLL_S)
    return {}


def _holders(held: Mapping[str, int]) -> dict[str, Held]:
    names, pids = {}, {}
    if (opened := open_nvml()) is not None:
        nvml, gpus = opened
        for gpu in gpus:
            names[gpu.uuid] = f"GPU {gpu.index} ({gpu.name})"
            with suppress(Exception):
                pids[gpu.uuid] = tuple(pid for pid, _ in processes_on(nvml, gpu) if psutil.pid_exists(pid))
        close_nvml(nvml)
    return {uuid: Held(names.get(uuid, uuid), size, pids.get(uuid, ())) for uuid, size in held.items()}


class GpuMemory:
    """Around an engine's life: at the end, the GPUs must hold no more than at the beginning.

        with GpuMemory(tell), engine: ...

    `tell` hears one sentence with GPU, bytes and processes when a GPU still holds more `timeout_s` after the engine's
    end. No error: it may be another program's memory, and what was measured stands. Does nothing without NVML, and does
    not keep an interrupt waiting. `freed_s`: seconds that the memory took to be free; None when it was not seen free.
    """

    def __init__(self, tell: Callable[[str], None], timeout_s: float = FREE_S) -> None:
        self._tell = tell
        self._timeout_s = timeout_s
        self._before: dict[str, int] = {}
        self.freed_s: float | None = None

    def __enter__(self) -> Self:
        self._before = memory_in_use()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if error is not None and not isinstance(error, Exception):
            return
        began = time.monotonic()
        held = wait_free(self._before, self._timeout_s)
        if not held:
            self.freed_s = time.monotonic() - began if self._before else None
            return
        left = "; ".join(map(str, held.values()))
        self._tell(f"{self._timeout_s:g} s after the engine's end more GPU memory is in use than before its start: "
                   f"{left}; end what holds it (nvidia-smi shows it), then run again")
