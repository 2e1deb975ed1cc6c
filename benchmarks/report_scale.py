"""How long does a report of ten million chunk stamps take, and how much memory?

    python benchmarks/report_scale.py [--chunks 10000000] [--keep DIR] > docs/results/statistics/scale.txt

Writes a results folder with `Store`: three variants and the baseline's twin, four concurrencies, four blocks, with an
SLO, so that every request and every chunk is looked at. Then `quantcheck report` in a fresh process, twice (the second
time with a warm page cache): wall seconds and the greatest resident set. Asked: below 20 s and 2 GB on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from quantcheck.spec.document import content_hash
from quantcheck.spec.experiment import Experiment
from quantcheck.store import CellKey, Store

STREAMS, BLOCKS = (1, 8, 32, 128), 4
SPEED = {"fp16": 1.0, "fp16@again": 1.0, "fp8": 1.3, "int4": 1.5}
TOKENS = 128
SECONDS, BYTES = 20.0, 2e9


def experiment() -> Experiment:
    return Experiment.model_validate({
        "name": "scale", "model": "none", "baseline": "fp16", "blocks": BLOCKS, "engine": {"kind": "fake"},
        "variants": {name: {"scheme": "gguf/F16"} for name in SPEED if "@" not in name},
        "load": {"workloads": {"chat": {"prompt_tokens": 512, "output_tokens": TOKENS}}, "concurrency": list(STREAMS)},
        "policy": {"slo": {"ttft_ms": 400, "itl_ms": 25}, "price": {"gpu_hour_usd": 3.5}},
    })  # fmt: skip


def cell(rng: np.random.Generator, entry: str, streams: int, requests: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Result and tables of one window: exponential gaps and a TTFT that grows with the streams."""
    speed = SPEED[entry] * float(np.exp(rng.normal(0, 0.01)))
    ttft = rng.lognormal(np.log(0.05 * (1 + streams / 8) / speed), 0.4, requests)
    gaps = rng.exponential(0.008 * (1 + streams / 64) / speed, (requests, TOKENS - 1))
    sent = np.sort(rng.uniform(0, requests * 2.0 / streams, requests))
    at = np.concatenate([(sent + ttft)[:, None], (sent + ttft)[:, None] + np.cumsum(gaps, axis=1)], axis=1)
    index = np.arange(requests, dtype=np.int32)
    table = {
        "request": index, "stream": index % streams, "phase": np.full(requests, "measured", object),
        "prompt_tokens": np.full(requests, 512, np.int32), "output_tokens": np.full(requests, TOKENS, np.int32),
        "due_s": np.full(requests, np.nan), "sent_s": sent, "first_s": at[:, 0], "last_s": at[:, -1],
        "end_s": at[:, -1], "status": np.full(requests, 200, np.int32), "outcome": np.full(requests, "ok", object),
        "detail": np.full(requests, "", object),
    }  # fmt: skip
    stamps = at.ravel()
    chunks = {"request": np.repeat(index, TOKENS), "at_s": stamps, "user_at_s": stamps + 2e-5, "kernel_at_s": stamps,
              "tokens": np.ones(requests * TOKENS, np.int32)}  # fmt: skip
    window = float(at.max())
    metrics = {
        "output_throughput": requests * TOKENS / window, "request_throughput": requests / window,
        "input_throughput": requests * 512 / window, "ttft": float(np.median(ttft)), "itl": float(np.median(gaps)),
        "tpot": float(np.median(gaps.mean(axis=1))), "e2e": float(np.median(at[:, -1] - sent)),
    }  # fmt: skip
    result = {"requests": requests, "outcomes": {"ok": requests}, "rate": None, "concurrency": streams,
              "window_s": window, "metrics": metrics, "missing": {}, "client": {"limited": []}, "engine": {},
              "memory": {}, "ready_s": 1.0, "prompts_sha256": "0" * 64}  # fmt: skip
    return result, {"requests": table, "chunks": chunks}


def write(folder: Path, chunks: int) -> tuple[int, int]:
    """Fills `folder`; (cells, chunks) that it holds."""
    rng = np.random.default_rng(0)
    chosen, store = experiment(), Store(folder)
    store.lock()
    cells = len(SPEED) * len(STREAMS) * BLOCKS
    requests = -(-chunks // (cells * TOKENS))
    written: list[str] = []
    for entry in SPEED:
        for streams in STREAMS:
            for block in range(BLOCKS):
                key = CellKey("load", entry, f"chat@c{streams}", block, f"{len(written):064x}")
                result, tables = cell(rng, entry, streams, requests)
                store.write(key, {"started_at": float(len(written)), "duration_s": 1.0, "artifact_sha256": "0" * 64,
                                  "result": result}, tables)
                written.append(key.id)
    store.write_document("experiment.json", json.dumps({
        "schema": 1, "experiment": chosen.model_dump(mode="json", by_alias=True),
        "experiment_sha256": content_hash(chosen), "hardware_id": "none", "environment": {}, "cells": written,
        "artifacts": {name: {"scheme": name, "bytes": 1} for name in chosen.variants}, "problems": [],
    }))
    store.unlock()
    return cells, cells * requests * TOKENS


def report(folder: Path) -> tuple[float, float]:
    """Wall seconds and the greatest resident set (bytes) of `quantcheck report`."""
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "quantcheck", "report", str(folder)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"quantcheck report failed: {child.returncode}")
    return wall, usage.ru_maxrss * (1024 if sys.platform == "linux" else 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=10_000_000)
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch) / "scale"
        began = time.monotonic()
        cells, chunks = write(folder, args.chunks)
        size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
        print(f"$ python {' '.join(sys.argv)}\n")
        print(f"{cells} cells, {chunks:,} chunk stamps, {size / 1e6:,.0f} MB of Parquet, "
              f"written in {time.monotonic() - began:.1f} s; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        worst = [0.0, 0.0]
        for number in (1, 2):
            wall, most = report(folder)
            worst = [max(worst[0], wall), max(worst[1], most)]
            print(f"report {number}: {wall:.1f} s, {most / 1e9:.2f} GB at most", flush=True)
    print(f"asked: below {SECONDS:.0f} s and {BYTES / 1e9:.0f} GB")
    return 0 if worst[0] < SECONDS and worst[1] < BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
