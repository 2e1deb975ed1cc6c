"""What NVML tells of the GPUs during a measured window: energy, power, clocks, heat, memory, whose processes.

A thread looks every 0.1 s, because the window's ends are known only afterwards. Any call may be refused (an old GPU, no
permission, a container that hides processes): that figure is then missing with NVML's reason. MIG devices are not read.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from quantcheck.telemetry.gpu_record import History, Look, gpu_record

__all__ = ["Gpu", "GpuSampler", "close_nvml", "open_nvml", "processes_on"]

EVERY_S = 0.1
PROCESSES_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as NVML knows it; `index` in PCI order, `handle` NVML's own."""

    index: int
    handle: Any
    uuid: str
    name: str


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def open_nvml() -> tuple[Any, list[Gpu]] | None:
    """NVML and the visible GPUs; None without module, library, driver or GPU.

    CUDA_VISIBLE_DEVICES may hold indices or (beginnings of) UUIDs; as in CUDA, what follows an invalid entry is not
    visible. An index is taken as NVML's, the PCI order: CUDA's own order of GPUs of one kind. Close it by `close_nvml`.
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
                found.append(Gpu(index, handle, _text(pynvml.nvmlDeviceGetUUID(handle)),
                                 _text(pynvml.nvmlDeviceGetName(handle))))
    except Exception:  # noqa: BLE001
        found = []
    gpus = _visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if not gpus:
        close_nvml(pynvml)
        return None
    return pynvml, gpus


def close_nvml(nvml: Any) -> None:
    """Ends what `open_nvml` began; never raises."""
    with suppress(Exception):
        nvml.nvmlShutdown()


def _visible(gpus: list[Gpu], setting: str | None) -> list[Gpu]:
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


def processes_on(nvml: Any, gpu: Gpu) -> list[tuple[int, int | None]]:
    """Process id and bytes (None: not told) of what computes on `gpu`; raises what NVML raises."""
    return [(int(found.pid), None if found.usedGpuMemory is None else int(found.usedGpuMemory))
            for found in nvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle)]


class GpuSampler:
    """Looks at the visible GPUs from `start` to `stop`; start it before the engine, to see which GPUs the engine takes.

    Inert where there is no NVML: `record` then gives {}.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._nvml: Any = None
        self._gpus: list[tuple[Gpu, History]] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._next_processes = 0.0

    def start(self) -> None:
        """Opens NVML, notes the memory in use, begins to look."""
        opened = open_nvml()
        if opened is None:
            return
        self._nvml = opened[0]
        self._gpus = [(gpu, History(gpu.index, gpu.uuid, gpu.name)) for gpu in opened[1]]
        self.look()
        for _, history in self._gpus:
            memory = history.looks[0].values.get("memory_used_bytes")
            history.before = None if memory is None else int(memory)
        self._ended.clear()
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the looking; may be called again."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            if not self._thread.is_alive():  # a call that hangs in the driver keeps the library open
                close_nvml(self._nvml)
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
            for gpu, history in self._gpus:
                history.looks.append(self._look_at(gpu, history.missing, processes))

    def _look_at(self, gpu: Gpu, missing: dict[str, str], processes: bool) -> Look:
        nvml, handle = self._nvml, gpu.handle
        look = Look(time.monotonic_ns())

        def take(what: str, read: Any) -> None:
            try:
                look.values[what] = float(read())
            except Exception as error:  # noqa: BLE001 - NVMLError of every kind, or a driver without the function
                missing[what] = str(error) or type(error).__name__

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
                missing["memory"] = str(error) or type(error).__name__
            try:
                look.processes = processes_on(nvml, gpu)
            except Exception as error:  # noqa: BLE001
                missing["processes"] = str(error) or type(error).__name__
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
            histories = [replace(history, looks=deque(history.looks)) for _, history in self._gpus]
        return gpu_record(histories, begin_ns, end_ns, set(own_pids))
