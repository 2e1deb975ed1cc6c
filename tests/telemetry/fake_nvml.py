"""A fake NVML with two GPUs."""

import time
from types import SimpleNamespace
from typing import Any

GIB = 1 << 30


class Refused(Exception):
    pass


class Nvml:
    """Two GPUs of 100 W each; `processes` and `used` by index; calls in `refused` raise."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self) -> None:
        self.processes: dict[int, list[tuple[int, int | None]]] = {0: [], 1: []}
        self.used = {0: GIB, 1: GIB}
        self.refused: set[str] = set()
        self.reasons = 0x1

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlInit": lambda: None, "nvmlShutdown": lambda: None, "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda index: index, "nvmlDeviceGetUUID": lambda gpu: f"GPU-{gpu}abc",
            "nvmlDeviceGetName": lambda gpu: "H200",
            "nvmlDeviceGetTotalEnergyConsumption": lambda gpu: time.monotonic_ns() // 10_000,
            "nvmlDeviceGetPowerUsage": lambda gpu: 100_000,
            "nvmlDeviceGetClockInfo": lambda gpu, kind: {1: 1980, 2: 3201}[kind],
            "nvmlDeviceGetTemperature": lambda gpu, sensor: 50,
            "nvmlDeviceGetCurrentClocksEventReasons": lambda gpu: self.reasons,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda gpu: self.reasons,
            "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(
                used=self.used[gpu], free=100 * GIB - self.used[gpu], total=100 * GIB),
            "nvmlDeviceGetComputeRunningProcesses": lambda gpu: [
                SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self.processes[gpu]],
        }
        if name not in answers:
            raise AttributeError(name)

        def call(*given: Any) -> Any:
            if name in self.refused:
                raise Refused("Not Supported")
            return answers[name](*given)

        return call
