"""Anti-patterns of a GPU and of the server on it: heat, throttling, other programs, counts that do not agree."""

from collections.abc import Iterator

from quantcheck.report.gpu import foreign_lines, gpu_of, heat_lines, throttle_share, windows_at
from quantcheck.report.pattern import Pattern, Seen

__all__ = ["GPU_PATTERNS"]

THROTTLED_SHARE = 0.05
"""Of a window's looks."""


def _heat(seen: Seen) -> Iterator[str]:
    for load in seen.index.loads:
        yield from heat_lines(load, windows_at(seen.index, load))


def _throttled(seen: Seen) -> Iterator[str]:
    """A sentence per load and variant, the worst first: that is the one that a report shows."""
    worst: dict[tuple[str, str], tuple[float, str]] = {}
    for load in seen.index.loads:
        for variant, _, record in windows_at(seen.index, load):
            held = throttle_share(record)
            if held and held[1] > THROTTLED_SHARE:
                worst[load, variant] = max((held[1], held[0]), worst.get((load, variant), (0.0, "")))
    for (load, variant), (share, reason) in sorted(worst.items(), key=lambda item: -item[1][0]):
        yield f"{variant} at {load}: the GPU's clocks were held back in {share:.0%} of the samples ({reason})"


def _foreign(seen: Seen) -> Iterator[str]:
    for load in seen.index.loads:
        yield from foreign_lines(load, windows_at(seen.index, load))


def _unpriced(seen: Seen) -> Iterator[str]:
    price = seen.index.experiment.policy.price
    if price is None:
        return
    for variant in seen.index.variants:
        used = max((len(gpu_of(cell.record).get("gpus", ())) for cell in seen.index.load_cells(variant)), default=0)
        if used > (counted := price.accelerators(variant)):
            yield f"{variant} ran on {used} GPUs, and its cost counts {counted}"


def _server_differs(seen: Seen) -> Iterator[str]:
    for load in seen.index.loads:
        for variant, block, record in windows_at(seen.index, load):
            for difference in record["result"].get("server", {}).get("differences", []):
                yield f"{variant} (block {block + 1}) at {load}: {difference}"


def _preempted(seen: Seen) -> Iterator[str]:
    for load in seen.index.loads:
        for variant, block, record in windows_at(seen.index, load):
            if count := record["result"].get("server", {}).get("preemptions"):
                yield (f"{variant} (block {block + 1}) at {load}: the engine took the KV cache from {count} running "
                       f"request{'' if count == 1 else 's'} and computed it again")


GPU_PATTERNS: tuple[Pattern, ...] = (
    Pattern("gpu_heat", _heat, "let a block run first to warm the GPU up, see to its cooling, and measure again"),
    Pattern("gpu_throttled", _throttled,
            "lock the clocks below what the power limit and the cooling allow (nvidia-smi --lock-gpu-clocks), or take "
            "the figures for those of this limit"),
    Pattern("foreign_process", _foreign,
            "the figures stand, but not for the engine alone: end the other program, or give the engine another GPU by "
            "CUDA_VISIBLE_DEVICES, and measure again"),
    Pattern("unpriced_gpus", _unpriced, "say in policy.price.gpus how many a variant takes, such as {fp16: 2}"),
    Pattern("server_differs", _server_differs,
            "see `server` in the cell and the engine's log: another client may use the server, or it does not do what "
            "engine.args say"),
    Pattern("preemptions", _preempted,
            "lower the load, shorten the requests, or give the KV cache more memory (engine.args, "
            "gpu-memory-utilization)"),
)
"""Their order is the table's."""
