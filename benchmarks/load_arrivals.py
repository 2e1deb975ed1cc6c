"""Does an open loop send when it must, whatever the server does?

    python benchmarks/load_arrivals.py [--rate 200] [--requests 2000] [--workers 1 2] [--seeds 0 1 2]

`quantcheck load --rate` against the fake engine (8 tokens in, 4 out, TTFT 10 ms, 2 ms gaps).

First the arrivals: the gaps between the actual send times (`sent_s` of the raw record, not the schedule's) against the
exponential distribution of the rate, by the Kolmogorov-Smirnov test.

    p            of the test; all above 0.01 is a pass
    mean gap     ms
    lag          send time minus intended send time, ms
    same         whether the intended times are those of the first number of workers, to the us

Then a stall: after 4 s the server neither reads nor sends for 2 s. The truth of a request due in the stall is the
script's: it waits for the rest of the stall and then takes as long as any other.

    due in it    requests due in the stall, sent in it, and answered well in the end
    error        latency from the intended time minus the truth, ms (the server works off what has gathered: late
                 answers are right)
    intended, sent   medians and greatest of the latency from the intended and from the actual send time, all requests
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kstest

from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import read_log
from quantcheck.engines.fake.script import Script
from quantcheck.store import read_table

TOKENS, TTFT_S, ITL_S = 4, 0.01, 0.002
WHOLE_S = TTFT_S + (TOKENS - 1) * ITL_S
STALL_AT_S, STALL_S = 4.0, 2.0
LEAST_P = 0.01


class Run:
    """One `quantcheck load`: per measured request in order of the due times, columns `due_s`, `sent_s`, `end_s` (the
    last token) and `ok`; `result` as recorded. `first_read_s` and `zero_s`: the server's first read, the raw times'
    zero, both on the clock that client and server share."""

    def __init__(self, script: Script, rate: float, requests: int, workers: int, seed: int) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with FakeServer(script, log=folder / "server.log", golden=folder / "truth.jsonl") as engine:
                done = subprocess.run(
                    [sys.executable, "-m", "quantcheck", "load", "--url", engine.endpoint.base_url, "--model", "fake",
                     "--rate", str(rate), "-n", str(requests), "--prompt-tokens", "8", "--output-tokens", str(TOKENS),
                     "--vocab-size", "32000", "--workers", str(workers), "--seed", str(seed),
                     "--out", str(folder / "run.json"), "--raw", str(folder / "run.parquet"), "--quiet"],
                    capture_output=True, text=True, check=False, timeout=600,
                    env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"})
            if done.returncode not in (0, 1):
                raise SystemExit(done.stderr)
            self.result: dict[str, Any] = json.loads(
                (folder / "run.json").read_text(encoding="utf-8"))["loads"][0]["result"]
            self.first_read_s = min(truth.read_ns for truth in read_log(folder / "truth.jsonl")) / 1e9
            raw = read_table(folder / "run.parquet")
        self.zero_s = self.result["began_monotonic_ns"] / 1e9
        raw = {key: values[raw["phase"] == "measured"] for key, values in raw.items()}
        order = np.lexsort((raw["at_s"], raw["request"]))
        request = raw["request"][order]
        last = np.flatnonzero(np.diff(request, append=-1))
        rows = order[last][np.argsort(raw["due_s"][order[last]], kind="stable")]
        self.due_s, self.sent_s, self.end_s = (raw[key][rows] for key in ("due_s", "sent_s", "at_s"))
        self.ok = raw["outcome"][rows] == "ok"


def arrivals(rate: float, requests: int, workers: list[int], seeds: list[int]) -> bool:
    """Prints a row for each run; whether all pass."""
    print(f"{requests:,} requests at {rate:g}/s")
    print("| seed | workers | sent | KS p | mean gap | lag p50 | p99 | max | same |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    passed = True
    for seed in seeds:
        first: np.ndarray[Any, Any] | None = None
        for count in workers:
            run = Run(Script(ttft_s=TTFT_S, itl_s=ITL_S), rate, requests, count, seed)
            gaps = np.diff(np.sort(run.sent_s))
            p = float(kstest(gaps, "expon", args=(0, 1 / rate)).pvalue)
            lag = 1e3 * (run.sent_s - run.due_s)
            due = run.due_s - run.due_s[0]
            first = due if first is None else first
            same = len(due) == len(first) and np.allclose(due, first, rtol=0, atol=1e-6)
            passed &= p > LEAST_P and len(gaps) == requests - 1 and same
            print(f"| {seed} | {count} | {len(run.sent_s):,} | {p:.3f} | {1e3 * gaps.mean():.3f} | "
                  f"{np.median(lag):.3f} | {np.quantile(lag, 0.99):.3f} | {lag.max():.3f} "
                  f"| {'yes' if same else 'NO'} |", flush=True)
    return passed


def stall(rate: float, requests: int, workers: list[int]) -> bool:
    """Prints a row for each number of workers; whether no request of the stall is omitted or looks fast."""
    print(f"\na stall of {STALL_S:g} s, {requests:,} requests at {rate:g}/s; ms")
    print("| workers | due in it, sent in it, ok | error p50 | max | intended p50 | max | sent p50 | max | lag p99 "
          "| max |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    passed = True
    for count in workers:
        run = Run(Script(ttft_s=TTFT_S, itl_s=ITL_S, stall_at_s=STALL_AT_S, stall_s=STALL_S), rate, requests, count, 0)
        begin = run.first_read_s + STALL_AT_S - run.zero_s
        end = begin + STALL_S
        inside = (run.due_s > begin) & (run.due_s < end)
        sent_inside = inside & (run.sent_s < end)
        truth = end - run.due_s[inside] + WHOLE_S
        intended, sent = run.end_s - run.due_s, run.end_s - run.sent_s
        error = 1e3 * (intended[inside] - truth)
        lag = 1e3 * (run.sent_s - run.due_s)
        wanted = rate * STALL_S
        passed &= bool(run.ok.all()) and len(run.ok) == requests and bool(np.all(error > -1.0)) \
            and abs(inside.sum() - wanted) < 5 * wanted**0.5 and np.array_equal(sent_inside, inside)
        print(f"| {count} | {inside.sum()}, {sent_inside.sum()}, {(inside & run.ok).sum()} | {np.median(error):.2f} "
              f"| {error.max():.2f} | {1e3 * np.median(intended):.2f} | {1e3 * intended.max():.1f} "
              f"| {1e3 * np.median(sent):.2f} | {1e3 * sent.max():.1f} | {np.quantile(lag, 0.99):.3f} "
              f"| {lag.max():.3f} |", flush=True)
    return passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()
    passed = arrivals(chosen.rate, chosen.requests, chosen.workers, chosen.seeds)
    passed &= stall(chosen.rate, chosen.requests, chosen.workers)
    sys.exit(not passed)


if __name__ == "__main__":
    main()
