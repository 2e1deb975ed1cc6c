"""GPU memory is seen free after an engine's end, or a sentence names who holds it."""

import os
import sys
import threading

import pytest

from quantcheck.errors import EngineError
from quantcheck.telemetry.gpu_memory import GpuMemory, Held, memory_in_use, wait_free
from tests.telemetry.fake_nvml import GIB, Nvml


def take(nvml: Nvml, gpu: int, pid: int) -> None:
    nvml.used[gpu] += 50 * GIB
    nvml.processes[gpu].append((pid, 50 * GIB))


def test_memory_still_held_is_told_with_who_holds_it(nvml: Nvml) -> None:
    before = memory_in_use()
    assert before == {"GPU-0abc": GIB, "GPU-1abc": GIB}
    take(nvml, 1, os.getpid())
    assert wait_free(before, 0.0) == {"GPU-1abc": Held("GPU 1 (H200)", 50 * GIB, (os.getpid(),))}
    nvml.used[1] = GIB
    assert wait_free(before, 0.0) == {}


def test_a_gpu_that_is_free_later_is_waited_for(nvml: Nvml) -> None:
    told: list[str] = []
    with GpuMemory(told.append) as memory:
        take(nvml, 0, os.getpid())
        threading.Timer(0.2, nvml.used.update, [{0: GIB}]).start()
    assert memory.freed_s is not None
    assert memory.freed_s > 0
    assert told == []


def test_a_little_more_than_before_is_free(nvml: Nvml) -> None:
    told: list[str] = []
    with GpuMemory(told.append, 0.0):
        nvml.used[0] += 100 << 20  # a context of somebody else's
    assert told == []


def test_a_left_over_process_is_told_in_one_line(nvml: Nvml) -> None:
    told: list[str] = []
    with GpuMemory(told.append, 0.2) as memory:
        take(nvml, 1, os.getpid())
    (text,) = told
    assert f"GPU 1 (H200): 50.00 GiB (process {os.getpid()})" in text
    assert "\n" not in text
    assert memory.freed_s is None


def test_hidden_processes_and_those_of_another_namespace_are_not_named(nvml: Nvml) -> None:
    told: list[str] = []
    with GpuMemory(told.append, 0.0):
        take(nvml, 0, 2**22 + 1)  # above Linux's highest pid
    nvml.used[0] = GIB
    nvml.refused.add("nvmlDeviceGetComputeRunningProcesses")
    with GpuMemory(told.append, 0.0):
        nvml.used[0] += 50 * GIB
    assert ["50.00 GiB (NVML names no process)" in text for text in told] == [True, True]


@pytest.mark.parametrize(("error", "tells"), [(EngineError("it died"), 1), (KeyboardInterrupt(), 0)])
def test_an_error_passes_and_an_interrupt_is_not_kept_waiting(nvml: Nvml, error: BaseException, tells: int) -> None:
    told: list[str] = []
    with pytest.raises(type(error)) as found, GpuMemory(told.append, 0.0):
        take(nvml, 0, os.getpid())
        raise error
    assert found.value is error
    assert len(told) == tells


def test_without_nvml_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with GpuMemory(pytest.fail, 0.0) as memory:
        pass
    assert memory_in_use() == {}
    assert memory.freed_s is None
    assert wait_free({}, 60.0) == {}


def test_a_gpu_that_fell_off_the_bus_is_not_waited_for(nvml: Nvml) -> None:
    before = memory_in_use()
    nvml.refused.add("nvmlDeviceGetMemoryInfo")
    assert wait_free(before, 60.0) == {}
