"""What NVML tells of the GPUs during a measured window: energy, power, clocks, heat, memory, whose processes.

A thread looks every 0.1 s, because the window's ends are known only afterwards. Any call may be refused (an old GPU, no
permission, a container that hides processes): that figure is then missing with NVML's reason. MIG devices are not read.
"""

import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import psutil

__all__ = ["GpuSampler", "memory_free", "wait_free"]

EVERY_S = 0.1
PROCESSES_EVERY_S = 1.0
KEPT = 72_000
"""Looks kept of each GPU: two hours."""
GAP_NS = 1_000_000_000
"""An end of the window is interpolated only between looks at most this far apart."""
ROSE_BYTES = 256 << 20
"""A GPU whose memory in use rose by this since before the engine's start is the engine's."""
REASONS = {
    0x2: "applications clocks", 0x4: "power cap", 0x8: "hardware slowdown", 0x10: "sync boost",
    0x20: "thermal (software)", 0x40: "thermal (hardware)", 0x80: "power brake", 0x100: "display clocks",
    0x200: "board limit", 0x400: "reliability",
}
"""Bits of NVML's clocks event reasons; 0x1 (idle) is not a throttle."""


@dataclass(slots=True)
class _Look:
    at_ns: int
    values: dict[str, float] = field(default_factory=dict)
    processes: list[tuple[int, int | None]] | None = None


@dataclass(slots=True)
class _Gpu:
    index: int
    handle: Any
    uuid: str
    name: str
    before: int | None = None
    looks: deque[_Look] = field(default_factory=lambda: deque(maxlen=KEPT))
    missing: dict[str, str] = field(default_factory=dict)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _open() -> tuple[Any, list[_Gpu]] | None:
    """NVML and the visible GPUs; None without module, library, driver or GPU.

    CUDA_VISIBLE_DEVICES may hold indices or (beginnings of) UUIDs; as in CUDA, what follows an invalid entry is not
    visible. An index is taken as NVML's, the PCI order: CUDA's own order of GPUs of one kind.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - module, library or driver missing: whatever it raises, there is nothing to read
        return None
    found = []
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            with suppress(Exception):  # a GPU that fell off the bus does not hide the others
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                found.append(_Gpu(index, handle, _text(pynvml.nvmlDeviceGetUUID(handle)),
                                  _text(pynvml.nvmlDeviceGetName(handle))))
    except Exception:  # noqa: BLE001
        found = []
    gpus = _visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if not gpus:
        _close(pynvml)
        return None
    return pynvml, gpus


def _close(nvml: Any) -> None:
    with suppress(Exception):
        nvml.nvmlShutdown()


def _visible(gpus: list[_Gpu], setting: str | None) -> list[_Gpu]:
    if setting is None:
        return gpus
    chosen = []
    for entry in (part.strip() for part in setting.split(",")):
        match = [gpu for gpu in gpus if (entry.isdecimal() and gpu.index == int(entry))
                 or (entry.startswith("GPU-") and gpu.uuid.startswith(entry))]
        if len(match) != 1 or match[0] in chosen:
            break
        chosen.append(match[0])
    return chosen


def _processes(nvml: Any, gpu: _Gpu) -> list[tuple[int, int | None]]:
    return [(int(found.pid), None if found.usedGpuMemory is None else int(found.usedGpuMemory))
            for found in nvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle)]


class GpuSampler:
    """Looks at the visible GPUs from `start` to `stop`; start it before the engine, to see which GPUs the engine takes.

    Inert where there is no NVML: `record` then gives {}.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._nvml: Any = None
        self._gpus: list[_Gpu] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._next_processes = 0.0

    def start(self) -> None:
        """Opens NVML, notes the memory in use, begins to look."""
        opened = _open()
        if opened is None:
            return
        self._nvml, self._gpus = opened
        self.look()
        for gpu in self._gpus:
            memory = gpu.looks[0].values.get("memory_used_bytes") if gpu.looks else None
            gpu.before = None if memory is None else int(memory)
        self._ended.clear()
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the looking; may be called again."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            if not self._thread.is_alive():  # a call that hangs in the driver keeps the library open
                _close(self._nvml)
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self.look()

    def look(self) -> None:
        """One look at every GPU, now; the thread does it by itself."""
        if self._nvml is None:
            return
        with self._lock:
            now = time.monotonic()
            processes = now >= self._next_processes
            if processes:
                self._next_processes = now + PROCESSES_EVERY_S
            for gpu in self._gpus:
                gpu.looks.append(self._look_at(gpu, processes))

    def _look_at(self, gpu: _Gpu, processes: bool) -> _Look:
        nvml, handle = self._nvml, gpu.handle
        look = _Look(time.monotonic_ns())

        def take(what: str, read: Any) -> None:
            try:
                look.values[what] = float(read())
            except Exception as error:  # noqa: BLE001 - NVMLError of every kind, or a driver without the function
                gpu.missing[what] = str(error) or type(error).__name__

        def reasons() -> int:
            try:
                return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
            except Exception:  # noqa: BLE001 - a driver from before the new name
                return int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))

        # The stamp belongs to the counter, so the counter comes first.
        take("energy_j", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)
        take("power_w", lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
        take("sm_mhz", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
        take("memory_mhz", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))
        take("temperature_c", lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        take("throttle", reasons)
        if processes:
            try:
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                look.values |= {f"memory_{part}_bytes": int(getattr(memory, part))
                                for part in ("used", "free", "total")}
            except Exception as error:  # noqa: BLE001
                gpu.missing["memory"] = str(error) or type(error).__name__
            try:
                look.processes = _processes(nvml, gpu)
            except Exception as error:  # noqa: BLE001
                gpu.missing["processes"] = str(error) or type(error).__name__
        return look

    def record(self, begin_ns: int, end_ns: int, own_pids: Collection[int] = ()) -> dict[str, Any]:
        """What the GPUs of the process tree `own_pids` did between two instants of CLOCK_MONOTONIC, in JSON values.

        {} without NVML, for an empty window, or when the engine is on no GPU. A GPU is the engine's when NVML lists one
        of `own_pids` there, or when its memory in use rose since `start` (where processes are hidden). `energy_j` and
        the memory figures are sums over these; None where one GPU lacks the figure, with `missing` telling why.
        """
        if self._nvml is None or end_ns <= begin_ns:
            return {}
        self.look()
        with self._lock:
            gpus = [(gpu, list(gpu.looks)) for gpu in self._gpus]
        own = set(own_pids)
        listed = any(pid in own for _, looks in gpus for look in looks for pid, _ in look.processes or ())
        records = [_of_gpu(gpu, looks, begin_ns, end_ns, own, listed) for gpu, looks in gpus
                   if _is_own(gpu, looks, own, listed)]
        if not records:
            return {}
        sums = {key: _sum(records, key) for key in ("energy_j", "memory_used_bytes", "memory_free_bytes",
                                                    "memory_total_bytes", "own_bytes", "foreign_processes",
                                                    "foreign_bytes")}
        missing = {f"gpu {one['index']}: {what}": why for one in records for what, why in one["missing"].items()}
        return {**sums, "gpus": records, "missing": missing}


def _is_own(gpu: _Gpu, looks: Sequence[_Look], own: set[int], listed: bool) -> bool:
    if listed:
        return any(pid in own for look in looks for pid, _ in look.processes or ())
    used = [look.values["memory_used_bytes"] for look in looks if "memory_used_bytes" in look.values]
    return gpu.before is not None and bool(used) and max(used) - gpu.before >= ROSE_BYTES


def _of_gpu(gpu: _Gpu, looks: Sequence[_Look], begin_ns: int, end_ns: int, own: set[int],
            listed: bool) -> dict[str, Any]:
    inside = [look for look in looks if begin_ns <= look.at_ns <= end_ns]
    missing: dict[str, str] = {}

    def spread(what: str) -> dict[str, float] | None:
        values = sorted(look.values[what] for look in inside if what in look.values)
        if not values:
            missing[what] = gpu.missing.get(what, "no look fell into the window")
            return None
        return {"low": values[0], "median": statistics.median(values), "high": values[-1]}

    found: dict[str, Any] = {"index": gpu.index, "uuid": gpu.uuid, "name": gpu.name, "looks": len(inside),
                             **{what: spread(what) for what in ("power_w", "sm_mhz", "memory_mhz", "temperature_c")}}
    begin, end = _energy_at(looks, begin_ns), _energy_at(looks, end_ns)
    found["energy_j"] = end - begin if begin is not None and end is not None and end >= begin else None
    if found["energy_j"] is None:
        missing["energy_j"] = gpu.missing.get("energy_j", "the counter was not read near both ends of the window")
    throttle = [int(look.values["throttle"]) for look in inside if "throttle" in look.values]
    found["throttle"] = {name: share for bit, name in REASONS.items()
                         if (share := sum(bool(word & bit) for word in throttle) / len(throttle))} if throttle else None
    if not throttle:
        missing["throttle"] = gpu.missing.get("throttle", "no look fell into the window")
    # Memory and processes are looked at once a second: a short window takes the last look before its end.
    upto = [look for look in looks if look.at_ns <= end_ns]
    with_memory = [look for look in inside if "memory_used_bytes" in look.values] or [
        look for look in upto if "memory_used_bytes" in look.values][-1:]
    fullest = max(with_memory, key=lambda look: look.values["memory_used_bytes"], default=None)
    for part in ("used", "free", "total"):
        found[f"memory_{part}_bytes"] = None if fullest is None else int(fullest.values[f"memory_{part}_bytes"])
    if fullest is None:
        missing["memory"] = gpu.missing.get("memory", "memory was not read before the window's end")
    with_processes = [look for look in inside if look.processes is not None] or [
        look for look in upto if look.processes is not None][-1:]
    found |= {"own_processes": None, "own_bytes": None, "foreign_processes": None, "foreign_bytes": None}
    if not listed:
        missing["processes"] = gpu.missing.get(
            "processes", "NVML lists none of the engine's processes (hidden, or of another pid namespace)")
    elif not with_processes:
        missing["processes"] = gpu.missing.get("processes", "processes were not read before the window's end")
    else:
        for side, mine in (("own", True), ("foreign", False)):
            groups = [[size for pid, size in look.processes or () if (pid in own) is mine] for look in with_processes]
            found[f"{side}_processes"] = max(len(group) for group in groups)
            if any(size is None for group in groups for size in group):
                missing[f"{side}_bytes"] = "NVML does not tell a process's memory here"
            else:
                found[f"{side}_bytes"] = max(sum(size or 0 for size in group) for group in groups)
    return {**found, "missing": missing}


def _energy_at(looks: Sequence[_Look], at_ns: int) -> float | None:
    """The counter at `at_ns`, on the line between the looks before and after it; None where they are too far apart."""
    before = after = None
    for look in looks:
        if "energy_j" in look.values:
            if look.at_ns <= at_ns:
                before = look
            else:
                after = look
                break
    if before is not None and before.at_ns == at_ns:
        return before.values["energy_j"]
    if before is None or after is None or after.at_ns - before.at_ns > GAP_NS:
        return None
    share = (at_ns - before.at_ns) / (after.at_ns - before.at_ns)
    return before.values["energy_j"] + share * (after.values["energy_j"] - before.values["energy_j"])


def _sum(records: Sequence[dict[str, Any]], key: str) -> float | int | None:
    values = [one[key] for one in records]
    return None if any(value is None for value in values) else sum(values)


def memory_free() -> dict[str, int]:
    """Bytes in use on each visible GPU, by UUID; {} without NVML, and without a GPU that does not tell."""
    opened = _open()
    if opened is None:
        return {}
    nvml, gpus = opened
    used = {}
    for gpu in gpus:
        with suppress(Exception):
            used[gpu.uuid] = int(nvml.nvmlDeviceGetMemoryInfo(gpu.handle).used)
    _close(nvml)
    return used


def wait_free(before: dict[str, int], timeout_s: float, slack_bytes: int = ROSE_BYTES) -> dict[str, Any]:
    """Waits until no GPU holds over `slack_bytes` more than in `before` (from `memory_free`), at most `timeout_s`.

    Returns {} when all is free, else {UUID: {"bytes": still held above before, "pids": who holds, as far as NVML
    tells and this pid namespace knows them}}.
    """
    end = time.monotonic() + timeout_s
    while True:
        now = memory_free()
        held = {uuid: now[uuid] - was for uuid, was in before.items()
                if uuid in now and now[uuid] - was > slack_bytes}
        if not held or time.monotonic() >= end:
            break
        time.sleep(EVERY_S)
    pids: dict[str, list[int]] = {}
    if held and (opened := _open()) is not None:
        nvml, gpus = opened
        for gpu in gpus:
            with suppress(Exception):
                pids[gpu.uuid] = [pid for pid, _ in _processes(nvml, gpu) if psutil.pid_exists(pid)]
        _close(nvml)
    return {uuid: {"bytes": size, "pids": pids.get(uuid, [])} for uuid, size in held.items()}
