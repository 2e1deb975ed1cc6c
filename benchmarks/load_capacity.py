"""Does `--find-max` find a capacity that is known?

    python benchmarks/load_capacity.py [--capacity 37 120] [--seeds 0 1 2] [--kind slots knee] [--start 8]
        [--requests N] [--details]

The fake engine serves K requests at once. With `slots` all others wait in order: in a closed loop of n > K streams of
answers that take S, a request waits S (n - K) / K on average (Little's law). With `knee` none waits, but every gap
between tokens is longer by n / K. The SLO lies just above what an unloaded server gives: TTFT of 20 ms plus 2% of S, or
an ITL longer by 2%. A search is right when both ends of its bracket, the highest load that meets the SLO and the lowest
that does not, lie within 5% of K.

    probes, loads, unsettled   windows that were run, at so many different loads; whether an end went by its estimate
    requests, time             all measured requests of the search, s from the start of the command to its end
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

from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.script import Script

TTFT_S, ITL_S, TOKENS = 0.02, 0.01, 50
WHOLE_S = TTFT_S + (TOKENS - 1) * ITL_S
ABOVE = 0.02
WITHIN = 0.05
SLO = {"slots": ["--slo-ttft-ms", f"{1e3 * (TTFT_S + ABOVE * WHOLE_S):g}"],
       "knee": ["--slo-itl-ms", f"{1e3 * (1 + ABOVE) * ITL_S:g}"]}


def one_search(kind: str, capacity: int, seed: int, more: list[str]) -> tuple[dict[str, Any], list[Any], float]:
    """The `search` and the `loads` of the record, and the time that it took, s."""
    script = Script(ttft_s=TTFT_S, itl_s=ITL_S, slots=capacity if kind == "slots" else None,
                    knee=capacity if kind == "knee" else None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with FakeServer(script, log=folder / "server.log") as engine:
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "quantcheck", "load", "--url", engine.endpoint.base_url, "--model", "fake",
                 "--find-max", "concurrency", "--prompt-tokens", "16", "--output-tokens", str(TOKENS), *SLO[kind],
                 "--vocab-size", "32000", "--seed", str(seed), "--out", str(folder / "run.json"), "--quiet", *more],
                capture_output=True, text=True, check=False, timeout=1200,
                env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"})
            took_s = time.monotonic() - began
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr)
        report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return report["search"], report["loads"], took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capacity", type=int, nargs="+", default=[37, 120])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kind", choices=list(SLO), nargs="+", default=["slots"])
    parser.add_argument("--start", type=int, default=8, help="streams that the search begins with")
    parser.add_argument("--requests", type=int, help="measured requests a probe; by default quantcheck's own choice")
    parser.add_argument("--details", action="store_true", help="every probe: load, good of all")
    chosen = parser.parse_args()
    more = ["--concurrency", str(chosen.start), *(["--requests", str(chosen.requests)] if chosen.requests else [])]
    print(f"an answer takes {WHOLE_S:g} s; from {chosen.start} streams on; SLO {SLO}")
    print("| kind | K | seed | meets | does not | within 5% | probes, loads, unsettled | requests | time s |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    right = True
    for kind in chosen.kind:
        for capacity in chosen.capacity:
            for seed in chosen.seeds:
                found, loads, took_s = one_search(kind, capacity, seed, more)
                ends = (found["highest"], found["lowest"])
                within = all(end is not None and abs(end / capacity - 1) <= WITHIN for end in ends)
                right &= within
                print(f"| {kind} | {capacity} | {seed} | {ends[0]:g} | {ends[1] or 0:g} | {'yes' if within else 'NO'} "
                      f"| {len(found['probes'])}, {len(found['levels'])}, {'yes' if found['unsettled'] else 'no'} "
                      f"| {sum(load['result']['requests'] for load in loads):,} | {took_s:.0f} |", flush=True)
                if chosen.details:
                    print("  " + ", ".join(
                        f"{probe['load']:g}: {probe['observation']['good']}/{probe['observation']['total']}"
                        f"{'' if probe['observation']['steady'] is not False else ' unsteady'}"
                        for probe in found["probes"]), flush=True)
    sys.exit(not right)


if __name__ == "__main__":
    main()
