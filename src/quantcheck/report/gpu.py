"""What a window's GPU telemetry says against its figures: clocks and heat that moved, throttling, other programs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from quantcheck.report.cells import CellIndex

__all__ = ["GPU_CLOCK_RATIO", "NO_TELEMETRY", "Window", "clock_lines", "foreign_lines", "gpu_of", "has_gpu",
           "heat_lines", "missing_of", "throttle_share", "windows_at"]

NO_TELEMETRY = "no GPU telemetry in the stored cells"

GPU_CLOCK_RATIO = 1.05
"""Between the SM clocks of two windows: the default margin of speed, which a smaller difference cannot exceed."""
HEAT_C = 10.0
"""Between the temperatures of two windows, in degrees Celsius."""
THROTTLES = ("power cap", "hardware slowdown", "thermal (software)", "thermal (hardware)", "power brake", "board limit")
"""Reasons that hold a clock below what was asked of it; set clocks and a clock at its highest are none."""

Window = tuple[str, int, Mapping[str, Any]]
"""(variant, block, cell record) of one measured window."""


def gpu_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What NVML told of a load cell's window; empty where it told nothing."""
    found: Mapping[str, Any] = record.get("telemetry", {}).get("gpu") or {}
    return found


def missing_of(record: Mapping[str, Any], what: str) -> str | None:
    """Why NVML did not tell `what`, and of which GPU; None where it told, or told nothing at all."""
    for place, why in gpu_of(record).get("missing", {}).items():
        gpu, _, key = place.rpartition(": ")
        if key == what:
            return f"{gpu}: {why}"
    return None


def has_gpu(index: CellIndex) -> bool:
    """Whether NVML told anything of any window."""
    return any(gpu_of(cell.record) for name in index.variants for cell in index.load_cells(name))


def windows_at(index: CellIndex, load: str, block: int | None = None) -> list[Window]:
    """The windows at one load, of one block or of all; the baseline's twin comes last."""
    return [(variant, at, cell.record) for variant in [*index.variants, index.again]
            for at, cell in index.load(variant, load).items() if block in (None, at)]


def throttle_share(record: Mapping[str, Any]) -> tuple[str, float] | None:
    """The reason that held the clocks back in most looks, and its share of them; None when none did."""
    shares = [(share, reason) for gpu in gpu_of(record).get("gpus", [])
              for reason, share in (gpu.get("throttle") or {}).items() if reason in THROTTLES]
    share, reason = max(shares, default=(0.0, ""))
    return (reason, share) if share else None


def clock_lines(load: str, windows: Sequence[Window]) -> Iterator[str]:
    """A sentence when the SM clocks of two windows differ by more than the bound; of several GPUs the slowest."""
    ends = _ends(windows, "sm_mhz", min)
    if ends and ends[1][0] > GPU_CLOCK_RATIO * ends[0][0]:
        (low, slow), (high, fast) = ends
        held = throttle_share(slow[2])
        why = f" ({held[0]} in {held[1]:.0%} of the samples)" if held else ""
        yield (f"the GPU's SM clock at {load} was {low:,.0f} MHz for {_named(slow, windows)}{why} and {high:,.0f} "
               f"MHz for {_named(fast, windows)}")


def heat_lines(load: str, windows: Sequence[Window]) -> Iterator[str]:
    """A sentence when the temperatures of two windows differ by more than the bound; of several GPUs the hottest."""
    ends = _ends(windows, "temperature_c", max)
    if ends and ends[1][0] - ends[0][0] > HEAT_C:
        (low, cool), (high, hot) = ends
        yield (f"the GPU at {load} was at {low:.0f} degrees C for {_named(cool, windows)} and at {high:.0f} for "
               f"{_named(hot, windows)}")


def foreign_lines(load: str, windows: Sequence[Window]) -> Iterator[str]:
    """A sentence for every window in which another program was on the engine's GPU."""
    for window in windows:
        gpu = gpu_of(window[2])
        if count := gpu.get("foreign_processes"):
            size = gpu.get("foreign_bytes")
            held = "" if size is None else f", with {size / 1e9:,.1f} GB of its memory,"
            one = count == 1
            yield (f"{_named(window, windows)} at {load}: {count} process{'' if one else 'es'} not of the engine{held} "
                   f"{'was' if one else 'were'} on its GPU")


def _ends(
    windows: Sequence[Window], what: str, of_gpus: Callable[[list[float]], float]
) -> tuple[tuple[float, Window], tuple[float, Window]] | None:
    """The windows with the lowest and the highest median of `what`; None where no window tells."""
    told = []
    for window in windows:
        medians = [float(gpu[what]["median"]) for gpu in gpu_of(window[2]).get("gpus", []) if gpu.get(what)]
        if medians:
            told.append((of_gpus(medians), window))
    if not told:
        return None
    return min(told, key=lambda one: one[0]), max(told, key=lambda one: one[0])


def _named(window: Window, windows: Sequence[Window]) -> str:
    """The variant, and the block, counted from 1, where there are others."""
    return window[0] if len({block for _, block, _ in windows}) == 1 else f"{window[0]} (block {window[1] + 1})"
