"""How truthful the load client is: its errors against a server whose every chunk time is known, level by level.

    python benchmarks/client.py [--levels 1 16 128 512 1024] [--runs 3] [--stamps kernel|user]
                                [--server fake|c] [--processes 1]

Each run is one `quantcheck load` as a user would type it, against the fake engine (64 tokens in,
64 out, TTFT 100 ms, 20 ms gaps), whose log is the truth: it stamps each chunk just before it is sent and each request
when the kernel received it, and says how late it was itself. Errors are what the client reports minus that. Client and
server share this machine's cores; with `--server c` the server is `chunk_server.c`, which takes next to nothing of them
and stamps a request once it has read it. Figures are medians over the runs, with their range.

    TTFT error   of each request: reported TTFT - (first chunk sent - request arrived), ms
    ITL error    of each gap between tokens: |reported - between the two sends|, ms
    of possible  output tokens/s over what the server's script gives when neither side is ever late, %
    CPU          user and system time of the load's processes, s per 1,000 tokens: while sending and receiving, and with
                 everything before and after
    first        from the start of the command to the arrival of its first measured or warm-up request, s
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunk_server import ChunkServer, Sent
from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import Truth, read_log
from quantcheck.engines.fake.script import Script
from quantcheck.store import read_table

TOKENS, TTFT_S, ITL_S = 64, 0.1, 0.02
PER_STREAM = 3
LEAST_REQUESTS = 16


def one_run(folder: Path, streams: int, stamps: str, processes: int) -> dict[str, float]:
    """One `quantcheck load` against the fake engine, and its errors."""
    script = Script(ttft_s=TTFT_S, itl_s=ITL_S, processes=processes)
    with FakeServer(script, log=folder / "server.log", golden=folder / "truth.jsonl") as engine:
        began_ns, cpu_s = load(folder, engine.endpoint.base_url, streams, stamps)
    own = [truth for truth in read_log(folder / "truth.jsonl") if truth.request.isdecimal()]
    late = np.concatenate([truth.sent_ns - truth.due_ns for truth in own])
    return figures(folder, streams, {truth.request: truth for truth in own}, began_ns, cpu_s, late)


def one_run_in_c(folder: Path, streams: int, stamps: str, _processes: int) -> dict[str, float]:
    """One `quantcheck load` against the server in C, and its errors."""
    with ChunkServer(folder) as server:
        began_ns, cpu_s = load(folder, f"http://127.0.0.1:{server.port}", streams, stamps)
    own = server.sent()
    due = round(TTFT_S * 1e9) + round(ITL_S * 1e9) * np.arange(TOKENS)
    late = np.concatenate([truth.sent_ns - truth.arrived_ns - due[: len(truth.sent_ns)] for truth in own.values()])
    return figures(folder, streams, own, began_ns, cpu_s, late)


def load(folder: Path, url: str, streams: int, stamps: str) -> tuple[int, float]:
    """Runs `quantcheck load`; when that began, ns, and the CPU time of all its processes, s."""
    requests = max(LEAST_REQUESTS if streams > 1 else 6, PER_STREAM * streams)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_ns = time.monotonic_ns()
    done = subprocess.run(
        [sys.executable, "-m", "quantcheck", "load", "--url", url, "--model", "fake",
         "-c", str(streams), "-n", str(requests), "--prompt-tokens", str(TOKENS), "--output-tokens", str(TOKENS),
         "--vocab-size", "32000", "--stamps", stamps, "--out", str(folder / "run.json"),
         "--raw", str(folder / "run.parquet"), "--quiet"],
        capture_output=True, text=True, check=False, timeout=600,
        # As at a user's: modules are compiled once, not at every start.
        env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    return began_ns, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def figures(
    folder: Path, streams: int, truths: Mapping[str, Truth | Sent], began_ns: int, cpu_s: float, late: NDArray[np.int64]
) -> dict[str, float]:
    """What the load reported against the truth; `late`: how late the server sent each chunk, ns."""
    result = json.loads((folder / "run.json").read_text(encoding="utf-8"))["loads"][0]["result"]
    raw = read_table(folder / "run.parquet")
    tokens = int(raw["tokens"].sum())
    possible = streams * TOKENS / (TTFT_S + (TOKENS - 1) * ITL_S)
    return errors(raw, truths) | {
        "possible": 100 * result["metrics"]["output_throughput"] / possible,
        "cpu": 1e3 * result["client"]["cpu_s"] / tokens,
        "cpu_all": 1e3 * cpu_s / tokens,
        "first": (min(truth.arrived_ns for truth in truths.values()) - began_ns) / 1e9,
        "late99": float(np.quantile(late, 0.99)) / 1e6,
        "rate": result["metrics"]["output_throughput"],
        "limited": float(len(result["client"]["limited"])),
    }


def errors(raw: dict[str, Any], truths: Mapping[str, Truth | Sent]) -> dict[str, float]:
    """Errors in ms over the measured requests; `lost`: share of requests whose chunks do not match the log, %."""
    keep = (raw["phase"] == "measured") & (raw["outcome"] == "ok")
    order = np.lexsort((raw["at_s"][keep], raw["request"][keep]))
    request, at, sent = (raw[name][keep][order] for name in ("request", "at_s", "sent_s"))
    first = np.flatnonzero(np.diff(request, prepend=-1))
    ttft, gaps, lost = [], [np.empty(0)], 0
    for begin, end in zip(first, [*first[1:], len(request)], strict=True):
        truth = truths[str(request[begin])]
        if len(truth.sent_ns) != end - begin:
            lost += 1
            continue
        ttft.append((at[begin] - sent[begin]) * 1e3 - (truth.sent_ns[0] - truth.arrived_ns) / 1e6)
        gaps.append(np.abs(np.diff(at[begin:end]) * 1e3 - np.diff(truth.sent_ns) / 1e6))
    gap = np.concatenate(gaps)
    return {"ttft50": float(np.quantile(ttft, 0.5)), "ttft99": float(np.quantile(ttft, 0.99)),
            "itl99": float(np.quantile(gap, 0.99)), "lost": 100 * lost / len(first)}


COLUMNS = (("ttft50", "TTFT err p50", 3), ("ttft99", "p99", 3), ("itl99", "ITL err p99", 3), ("lost", "lost %", 1),
           ("rate", "tok/s", 0), ("possible", "of possible %", 1), ("cpu", "CPU s/1k", 4), ("cpu_all", "all", 4),
           ("first", "first s", 2), ("late99", "server late p99", 2), ("limited", "invalid", 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 16, 128, 512, 1024])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--stamps", choices=["kernel", "user"], default="kernel")
    parser.add_argument("--server", choices=["fake", "c"], default="fake")
    parser.add_argument("--processes", type=int, default=1, help="of the fake engine")
    chosen = parser.parse_args()
    run, server = (one_run, "the fake engine") if chosen.server == "fake" else (one_run_in_c, "chunk_server.c")
    print(f"{chosen.stamps} stamps, {server}, {chosen.runs} runs a level: median (lowest to highest)")
    print("| streams | " + " | ".join(name for _, name, _ in COLUMNS) + " |")
    print("|---|" + "---|" * len(COLUMNS), flush=True)
    for streams in chosen.levels:
        runs = []
        for _ in range(chosen.runs):
            with tempfile.TemporaryDirectory() as folder:
                runs.append(run(Path(folder), streams, chosen.stamps, chosen.processes))
        cells = []
        for key, _, digits in COLUMNS:
            values = [run[key] for run in runs]
            cells.append(f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})")
        print(f"| {streams:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
