"""GPU samples of a window, from a fake NVML: counters, refusals, foreign and hidden processes, lost GPUs."""

import os
import sys
import time
from typing import Any

import pytest

from quantcheck.telemetry.nvml import GpuSampler, open_nvml
from tests.telemetry.fake_nvml import GIB, Nvml

pytestmark = pytest.mark.alone

OWN, OTHER = 4_000_001, 4_000_002


def watched(nvml: Nvml, engine: Any) -> dict[str, Any]:
    with GpuSampler(every_s=0.01) as sampler:
        engine()
        sampler._next_processes = 0.0
        time.sleep(0.05)
        begin = time.monotonic_ns()
        time.sleep(0.1)
        end = time.monotonic_ns()
        found = sampler.record(begin, end, {OWN})
    found["seconds"] = (end - begin) / 1e9
    return found


def serve(nvml: Nvml, *gpus: int, pid: int | None = OWN, size: int | None = 50 * GIB) -> None:
    for gpu in gpus:
        nvml.used[gpu] += 50 * GIB
        if pid is not None:
            nvml.processes[gpu].append((pid, size))


def test_energy_is_the_windows_and_of_the_engines_gpu_alone(nvml: Nvml) -> None:
    found = watched(nvml, lambda: serve(nvml, 1))
    assert [gpu["index"] for gpu in found["gpus"]] == [1]
    assert found["energy_j"] == pytest.approx(100 * found["seconds"], rel=0.01)
    assert found["own_bytes"] == 50 * GIB
    assert found["memory_used_bytes"] == 51 * GIB
    assert found["foreign_processes"] == 0
    assert found["gpus"][0]["throttle"] == {}
    assert found["missing"] == {}


def test_two_ranks_are_summed_and_a_foreign_process_is_counted(nvml: Nvml) -> None:
    nvml.processes[0].append((OTHER, GIB))
    nvml.reasons = 0x5
    found = watched(nvml, lambda: serve(nvml, 0, 1))
    assert found["energy_j"] == pytest.approx(200 * found["seconds"], rel=0.01)
    assert (found["foreign_processes"], found["foreign_bytes"]) == (1, GIB)
    assert found["gpus"][0]["throttle"] == {"power cap": 1.0}


def test_hidden_processes_are_missing_and_the_gpu_is_known_by_its_memory(nvml: Nvml) -> None:
    found = watched(nvml, lambda: serve(nvml, 0, pid=None))
    assert [gpu["index"] for gpu in found["gpus"]] == [0]
    assert found["own_bytes"] is None
    assert found["foreign_processes"] is None
    assert "gpu 0: processes" in found["missing"]


@pytest.mark.parametrize(("call", "figure"), [
    ("nvmlDeviceGetTotalEnergyConsumption", "energy_j"), ("nvmlDeviceGetPowerUsage", "power_w"),
    ("nvmlDeviceGetTemperature", "temperature_c"),
])
def test_a_refused_call_is_missing_with_its_reason_never_zero(nvml: Nvml, call: str, figure: str) -> None:
    nvml.refused.add(call)
    found = watched(nvml, lambda: serve(nvml, 0))
    assert found["gpus"][0][figure] is None
    assert found["missing"] == {f"gpu 0: {figure}": "Not Supported"}


def test_unknown_size_of_a_process_is_missing(nvml: Nvml) -> None:
    found = watched(nvml, lambda: serve(nvml, 0, size=None))
    assert found["own_bytes"] is None
    assert found["gpus"][0]["own_processes"] == 1


def test_a_gpu_lost_amid_the_window_has_no_energy(nvml: Nvml) -> None:
    with GpuSampler(every_s=0.01) as sampler:
        serve(nvml, 0)
        sampler._next_processes = 0.0
        time.sleep(0.05)
        begin = time.monotonic_ns()
        time.sleep(0.03)
        nvml.refused.add("nvmlDeviceGetTotalEnergyConsumption")
        time.sleep(0.03)
        found = sampler.record(begin, time.monotonic_ns(), {OWN})
    assert found["energy_j"] is None
    assert found["missing"]["gpu 0: energy_j"] == "Not Supported"


def test_an_engine_without_a_gpu_and_a_machine_without_nvml_give_nothing(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert list(watched(nvml, lambda: None)) == ["seconds"]
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert list(watched(nvml, lambda: None)) == ["seconds"]
    assert open_nvml() is None


@pytest.mark.parametrize(("setting", "uuids"), [
    ("1", ["GPU-1abc"]), ("GPU-0", ["GPU-0abc"]), ("1,0", ["GPU-1abc", "GPU-0abc"]), ("0,7,1", ["GPU-0abc"]), ("", []),
])
def test_only_visible_gpus_are_watched(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch, setting: str, uuids: list[str],
) -> None:
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", setting)
    opened = open_nvml()
    assert [gpu.uuid for gpu in (opened[1] if opened else [])] == uuids
