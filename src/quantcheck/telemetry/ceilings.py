"""What a machine can do at most: bytes read and copied per second, and arithmetic per second.

Runs by itself (`python ceilings.py`, or `python -m quantcheck.telemetry.ceilings`) and prints JSON; it needs numpy for
the processor, torch with CUDA for a GPU, and nothing of quantcheck, so that it can be carried to another machine.

Every rate is measured several times; `median`, `low` and `high` (the slowest and fastest sample) are given. A copy
counts the bytes read and the bytes written, as STREAM does (McCalpin 1995). Arithmetic counts 2 n^3 for a product of
two n x n matrices.
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["SCHEMA", "cpu_ceilings", "cuda_ceilings", "main"]

SCHEMA = 1
"""Raised when the measurement changes, so that kept results of older ones are not used."""

MIB = 1 << 20
LEAST_BYTES = 256 * MIB
MOST_BYTES = 1024 * MIB
CACHES = 4
"""The largest arrays are this many times the processor's last cache."""
WORKING_SETS = (4 * MIB, 16 * MIB, 64 * MIB)
"""Smaller sizes to read, bytes over all threads: small models live in the cache."""
REPEATS = 5
SAMPLE_S = 0.02
"""Least length of one sample on the processor."""
CPU_MATRIX = 512
GPU_MATRIX = 8192
GPU_COPY_BYTES = 1024 * MIB
GPU_REPEATS = 20
GPU_LAUNCHES = 5

Rate = dict[str, float]


def _rate(amount: float, seconds: Sequence[float]) -> Rate:
    return {"median": amount / median(seconds), "low": amount / max(seconds), "high": amount / min(seconds)}


def last_cache_bytes() -> int:
    """Bytes of the processor's largest cache; 0 where the system does not tell."""
    found = 0
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        unit = {"K": 1 << 10, "M": MIB, "G": 1 << 30}.get(text[-1:], 1)
        found = max(found, int(text.rstrip("KMG") or 0) * unit)
    return found


def _timed(pool: ThreadPoolExecutor, jobs: Sequence[Callable[[], None]]) -> float:
    """Seconds until all `jobs`, one per thread, are done."""
    began = time.perf_counter()
    for waiting in [pool.submit(job) for job in jobs]:
        waiting.result()
    return time.perf_counter() - began


def _samples(pool: ThreadPoolExecutor, work: Callable[[int], list[Callable[[], None]]]) -> tuple[int, list[float]]:
    """(passes per sample, seconds of each sample); `work(passes)` gives a job per thread."""
    passes = 1
    while (took := _timed(pool, work(passes))) < SAMPLE_S:
        passes = max(passes + 1, min(passes * 8, round(passes * 1.2 * SAMPLE_S / max(took, 1e-6))))
    return passes, [_timed(pool, work(passes)) for _ in range(REPEATS)]


def _repeat(passes: int, call: Callable[[], object]) -> Callable[[], None]:
    def job() -> None:
        for _ in range(passes):
            call()
    return job


def cpu_ceilings(threads: int) -> dict[str, Any]:
    """Rates of the processor with `threads` threads at work; takes about a second.

    `copy`: bytes/s, read and written, far outside the caches. `read`: [{bytes, median, low, high}] in bytes/s for
    working sets of that many bytes over all threads. `matrix`: FLOP/s by type, here `fp32` (numpy's BLAS).
    A BLAS that starts threads of its own must be held to one (`OMP_NUM_THREADS=1`) before numpy is imported.
    """
    import numpy as np

    total = min(MOST_BYTES, max(LEAST_BYTES, CACHES * last_cache_bytes()))
    # Written once, so that every page is there before the clock runs.
    source = np.ones(total // 4, dtype=np.float32)
    target = np.zeros(total // 4, dtype=np.float32)
    with ThreadPoolExecutor(threads) as pool:

        def copying(passes: int) -> list[Callable[[], None]]:
            parts = zip(np.array_split(target, threads), np.array_split(source, threads), strict=True)
            return [_repeat(passes, partial(np.copyto, to, of)) for to, of in parts]

        def reading(size: int) -> Callable[[int], list[Callable[[], None]]]:
            parts = np.array_split(source[: size // 4], threads)
            # A dot product with itself reads every value once, at the rate of vector loads.
            return lambda passes: [_repeat(passes, partial(np.dot, of, of)) for of in parts]

        def multiplying(passes: int) -> list[Callable[[], None]]:
            left = np.ones((CPU_MATRIX, CPU_MATRIX), dtype=np.float32)
            return [_repeat(passes, partial(np.matmul, left, left, out=np.empty_like(left))) for _ in range(threads)]

        passes, seconds = _samples(pool, copying)
        found: dict[str, Any] = {"threads": threads, "copy": _rate(2.0 * total * passes, seconds), "read": []}
        for size in (*WORKING_SETS, total):
            passes, seconds = _samples(pool, reading(size))
            found["read"].append({"bytes": size, **_rate(float(size) * passes, seconds)})
        passes, seconds = _samples(pool, multiplying)
        found["matrix"] = {"fp32": _rate(2.0 * CPU_MATRIX**3 * passes * threads, seconds)}
    return found


def cuda_ceilings() -> dict[str, Any]:
    """Rates of the first CUDA device by torch, or `missing` with the reason.

    `copy`: bytes/s, read and written, in device memory. `read`: as `cpu_ceilings`, one size. `matrix`: FLOP/s by type
    (int8: operations/s), inputs of that type, dense; a type that does not run here is in `missing` with the reason.
    """
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        return {"missing": "torch is not installed"}
    if not torch.cuda.is_available():
        return {"missing": "torch sees no CUDA device"}
    began = time.perf_counter()
    device = torch.device("cuda", 0)
    properties = torch.cuda.get_device_properties(device)
    found: dict[str, Any] = {
        "name": properties.name, "memory_bytes": properties.total_memory, "torch": str(torch.__version__),
        "cuda": str(torch.version.cuda), "devices": torch.cuda.device_count(), "matrix": {}, "missing": {},
    }

    def measure(amount: float, run: Callable[[], object]) -> Rate:
        run()
        torch.cuda.synchronize(device)
        seconds = []
        for _ in range(GPU_REPEATS):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(GPU_LAUNCHES):
                run()
            end.record()
            end.synchronize()
            seconds.append(start.elapsed_time(end) / 1e3)
        return _rate(amount * GPU_LAUNCHES, seconds)

    with torch.no_grad():
        size = min(GPU_COPY_BYTES, properties.total_memory // 8)
        source = torch.ones(size // 4, dtype=torch.float32, device=device)
        target = torch.empty_like(source)
        found["copy"] = measure(2.0 * size, partial(target.copy_, source))
        found["read"] = [{"bytes": size, **measure(float(size), source.sum)}]
        del source, target
        for name, run in _products(torch, device).items():
            try:
                found["matrix"][name] = measure(2.0 * GPU_MATRIX**3, run())
            except (RuntimeError, AttributeError, TypeError, NotImplementedError) as error:
                found["missing"][name] = (str(error).splitlines() or ["failed"])[0][:200]
        torch.cuda.empty_cache()
    found["seconds"] = round(time.perf_counter() - began, 2)
    return found


def _products(torch: Any, device: Any) -> dict[str, Callable[[], Callable[[], object]]]:
    """By type: makes the operands and gives the product to time. Random values, because zeros draw less power."""
    n = GPU_MATRIX

    def plain(dtype: Any) -> Callable[[], object]:
        left, right = (torch.randn(n, n, dtype=dtype, device=device) for _ in range(2))
        out = torch.empty(n, n, dtype=dtype, device=device)
        return lambda: torch.mm(left, right, out=out)

    def whole() -> Callable[[], object]:
        left, right = (torch.randint(-127, 128, (n, n), dtype=torch.int8, device=device) for _ in range(2))
        return lambda: torch._int_mm(left, right.t())  # the kernels take the right operand by columns

    def eight() -> Callable[[], object]:
        left, right = (torch.randn(n, n, device=device).to(torch.float8_e4m3fn) for _ in range(2))
        one = torch.ones((), dtype=torch.float32, device=device)
        return lambda: torch._scaled_mm(left, right.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)

    return {"fp16": lambda: plain(torch.float16), "bf16": lambda: plain(torch.bfloat16), "int8": whole, "fp8": eight}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints one JSON object: `schema`, `seconds`, `cpu` (list, one per thread count) and `cuda`."""
    parser = argparse.ArgumentParser(description="measure this machine's memory bandwidth and matrix rate")
    parser.add_argument("--threads", default="", help="CPU thread counts, such as 1,2; default: all; 0: no CPU")
    parser.add_argument("--no-cuda", action="store_true", help="leave the GPU out")
    given = parser.parse_args(arguments)
    # Threads are ours, one product each: a BLAS with its own would take them twice.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ[name] = "1"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = [int(text) for text in given.threads.split(",")] if given.threads else [usable]
    began = time.perf_counter()
    found: dict[str, Any] = {"schema": SCHEMA, "cpu": [cpu_ceilings(count) for count in counts if count > 0]}
    found["seconds"] = round(time.perf_counter() - began, 2)
    found["cuda"] = {"missing": "not asked for"} if given.no_cuda else cuda_ceilings()
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
