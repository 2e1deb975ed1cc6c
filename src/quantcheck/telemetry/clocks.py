"""The CPU's clock while a window is measured: a machine that clocks itself down measures itself, not the variants."""

import time
from typing import Any

import psutil

__all__ = ["Clocks"]

EVERY_S = 1.0
"""Between two looks; one costs well under a millisecond on small machines and some on large ones."""


class Clocks:
    """Looks at the fastest core's clock, at most once a second; `look` may be called as often as one likes."""

    def __init__(self) -> None:
        self._mhz: list[float] = []
        self._next = 0.0

    def look(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_S
        try:
            cores = psutil.cpu_freq(percpu=True)
        except (OSError, NotImplementedError, AttributeError):  # no such files, or a system without the call
            return
        if cores and (fastest := max(core.current for core in cores)) > 0:
            self._mhz.append(float(fastest))

    def record(self) -> dict[str, Any]:
        """`cpu_mhz` as low, median and high over the looks, and how many there were; empty where nothing was told."""
        ordered = sorted(self._mhz)
        if not ordered:
            return {}
        return {"cpu_mhz": {"low": ordered[0], "median": ordered[len(ordered) // 2], "high": ordered[-1],
                            "looks": len(ordered)}}
