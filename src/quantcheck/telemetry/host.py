"""How busy the machine is with other things, and how much room its disk has."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["HostLoad", "disk_free_bytes", "host_load"]

SAMPLE_S = 0.3
TOLERATED = 0.1
"""Share of all hardware threads that other programs may use before it is worth a warning."""
NAMED = 3


@dataclass(frozen=True, slots=True)
class HostLoad:
    """CPU use of programs that are not ours; in units of one hardware thread (1.0: one of them, fully)."""

    others: float
    threads: int
    busiest: tuple[tuple[str, float], ...]
    load_average: float | None

    def warning(self) -> str | None:
        """One line when the machine is too busy for figures of speed; None when it is quiet."""
        if self.others <= TOLERATED * self.threads:
            return None
        names = ", ".join(f"{name} {share:.0%}" for name, share in self.busiest)
        return (f"other programs use {self.others:.1f} of {self.threads} CPU threads ({names}): speeds will scatter "
                "and intervals widen; end them, or measure when the machine is quiet")


def host_load(sample_s: float = SAMPLE_S) -> HostLoad:
    """Samples every process's CPU time over `sample_s` seconds; this process and its descendants are left out."""
    before = _cpu_times()
    began = time.monotonic()
    time.sleep(sample_s)
    after = _cpu_times()
    elapsed = time.monotonic() - began
    shares = sorted(
        ((name, (spent - before[key][1]) / elapsed) for key, (name, spent) in after.items() if key in before),
        key=lambda item: -item[1],
    )
    return HostLoad(
        others=sum(share for _, share in shares),
        threads=psutil.cpu_count() or 1,
        busiest=tuple(item for item in shares[:NAMED] if item[1] > 0.01),
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _cpu_times() -> dict[tuple[int, float], tuple[str, float]]:
    """(pid, start time) to (name, CPU seconds so far) of all processes but our own."""
    mine = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    found = {}
    for process in psutil.process_iter(["name", "create_time", "cpu_times"]):
        info = process.info
        if process.pid not in mine and info["cpu_times"] is not None:
            spent = info["cpu_times"].user + info["cpu_times"].system
            found[process.pid, info["create_time"]] = (info["name"] or "?", spent)
    return found


def disk_free_bytes(path: Path) -> int:
    """Bytes free for this user where `path` is, or would be."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
