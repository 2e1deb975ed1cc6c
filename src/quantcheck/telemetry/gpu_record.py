"""From looks at GPUs to what they did in a window: energy, spreads, throttling, memory, whose processes.

Pure arithmetic: `telemetry.nvml` takes the looks. A figure that cannot be had is None, with the reason in `missing`.
"""

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ROSE_BYTES", "History", "Look", "gpu_record"]

KEPT = 72_000
"""Looks kept of each GPU: two hours of ten a second."""
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
class Look:
    """What one GPU told at one instant of CLOCK_MONOTONIC; `processes`: pid and bytes, None when not looked at."""

    at_ns: int
    values: dict[str, float] = field(default_factory=dict)
    processes: list[tuple[int, int | None]] | None = None


@dataclass(slots=True)
class History:
    """The looks at one GPU; `before`: bytes in use at the first one; `missing`: why a figure is not in the looks."""

    index: int
    uuid: str
    name: str
    before: int | None = None
    looks: deque[Look] = field(default_factory=lambda: deque(maxlen=KEPT))
    missing: dict[str, str] = field(default_factory=dict)


def gpu_record(gpus: Sequence[History], begin_ns: int, end_ns: int, own: set[int]) -> dict[str, Any]:
    """The record of the GPUs that are the engine's, with sums over them; {} when none is.

    `own`: the engine's process ids. A GPU is the engine's when one of them was listed there, or, where no GPU lists
    any (hidden processes), when its memory in use rose since `before`.
    """
    listed = any(pid in own for gpu in gpus for look in gpu.looks for pid, _ in look.processes or ())
    records = [_of_gpu(gpu, list(gpu.looks), begin_ns, end_ns, own, listed) for gpu in gpus
               if _is_own(gpu, own, listed)]
    if not records:
        return {}
    sums = {key: _sum(records, key) for key in ("energy_j", "memory_used_bytes", "memory_free_bytes",
                                                "memory_total_bytes", "own_bytes", "foreign_processes",
                                                "foreign_bytes")}
    missing = {f"gpu {one['index']}: {what}": why for one in records for what, why in one["missing"].items()}
    return {**sums, "gpus": records, "missing": missing}


def _is_own(gpu: History, own: set[int], listed: bool) -> bool:
    if listed:
        return any(pid in own for look in gpu.looks for pid, _ in look.processes or ())
    used = [look.values["memory_used_bytes"] for look in gpu.looks if "memory_used_bytes" in look.values]
    return gpu.before is not None and bool(used) and max(used) - gpu.before >= ROSE_BYTES


def _of_gpu(gpu: History, looks: Sequence[Look], begin_ns: int, end_ns: int, own: set[int],
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


def _energy_at(looks: Sequence[Look], at_ns: int) -> float | None:
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
