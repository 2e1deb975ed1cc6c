"""Does every fault get its own outcome, request by request, and is what was received before it kept?

    python benchmarks/load_faults.py [--requests 2000] [--streams 64] [--share 0.05] [--seed 0] [--kinds KIND ...]

`quantcheck load` (8 tokens in, 16 out; 1 s to the first byte, 2 s for the whole) against a fake engine that has each
kind of fault with the given share, drawn by the request's id. Its log is the truth; both are joined by the request. Two
runs with ten kinds each are the default, so that every kind that a request can meet is seen.

    struck    measured requests that the server's log gives this fault ("none": no fault)
    outcome   the client's, and how many of the struck requests have it
    tokens    sent by the server before the fault, and kept by the client
    agree     outcome of every request as it must be, and every token kept

Below each table: whether the run's own outcome counts are those of the log, and how long the run took. A run that
disagrees in one request ends with status 1.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import Truth, read_log
from quantcheck.engines.fake.script import Script
from quantcheck.store import read_table

TOKENS, TTFT_S, ITL_S = 16, 0.01, 0.002
REQUEST_S, FIRST_BYTE_S = 2.0, 1.0
OUTCOMES = {
    None: "ok", "status-429": "rate_limited", "status-500": "server_error", "status-503": "server_error",
    "error-event": "error_event", "cut": "cut", "reset": "reset", "short": "incomplete", "no-done": "incomplete",
    "garbage": "garbage", "empty": "empty", "empty-body": "empty", "garbage-http": "cut", "hang": "no_first_byte",
    "stall": "stalled", "slow": "no_first_byte",
}
"""`slow` comes later than the deadline of the first byte."""
RUNS = (
    ("status-429", "status-503", "error-event", "cut", "reset", "short", "garbage", "empty", "hang", "stall"),
    ("status-429", "status-500", "no-done", "empty-body", "garbage-http", "slow", "cut", "reset", "hang", "stall"),
)


def one_run(kinds: tuple[str, ...], share: float, requests: int, streams: int, seed: int) -> bool:
    """One load and its table; whether all agree."""
    script = Script(ttft_s=TTFT_S, itl_s=ITL_S, faults=tuple((kind, share) for kind in kinds), seed=seed,
                    slow_s=1.5 * FIRST_BYTE_S)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with FakeServer(script, log=folder / "server.log", golden=folder / "truth.jsonl") as engine:
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "quantcheck", "load", "--url", engine.endpoint.base_url, "--model", "fake",
                 "-c", str(streams), "-n", str(requests), "--prompt-tokens", "8", "--output-tokens", str(TOKENS),
                 "--vocab-size", "32000", "--request-timeout", str(REQUEST_S), "--first-byte-timeout",
                 str(FIRST_BYTE_S), "--seed", str(seed), "--out", str(folder / "run.json"),
                 "--raw", str(folder / "run.parquet"), "--quiet"],
                capture_output=True, text=True, check=False, timeout=600,
                env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"})
            took_s = time.monotonic() - began
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr)
        result = json.loads((folder / "run.json").read_text(encoding="utf-8"))["loads"][0]["result"]
        answers = received(read_table(folder / "run.parquet"))
        truths = {int(truth.request): truth for truth in read_log(folder / "truth.jsonl") if truth.request.isdecimal()}
    agree = table(answers, truths, kinds)
    expected = Counter(OUTCOMES[truths[request].fault] for request in answers if request in truths)
    same = result["outcomes"] == dict(expected) and sum(expected.values()) == requests
    print(f"\noutcome counts {'as the log' if same else 'UNLIKE the log'}: {result['outcomes']}"
          + ("" if same else f" against {dict(expected)}"))
    print(f"the run ended after {took_s:.1f} s, {result['problem'] or 'not early'}, {streams} streams\n", flush=True)
    return agree and same


def received(raw: dict[str, Any]) -> dict[int, tuple[str, int]]:
    """Outcome and tokens of each measured request."""
    found: dict[int, tuple[str, int]] = {}
    for request, phase, outcome, tokens in zip(
            *(raw[name].tolist() for name in ("request", "phase", "outcome", "tokens")), strict=True):
        if phase == "measured":
            found[request] = (outcome, found.get(request, ("", 0))[1] + tokens)
    return found


def table(answers: dict[int, tuple[str, int]], truths: dict[int, Truth], kinds: tuple[str, ...]) -> bool:
    """Prints a row for each kind; whether all agree."""
    print("| fault | struck | outcome | tokens sent | kept | agree |")
    print("|---|---|---|---|---|---|")
    lost = [request for request in answers if request not in truths]
    if lost:
        print(f"not in the server's log: {lost[:10]}")
    agree = not lost
    for kind in (None, *kinds):
        struck = [request for request in answers if request in truths and truths[request].fault == kind]
        outcomes = Counter(answers[request][0] for request in struck)
        sent, kept = sum(int(truths[r].tokens.sum()) for r in struck), sum(answers[r][1] for r in struck)
        off = [r for r in struck if answers[r] != (OUTCOMES[kind], int(truths[r].tokens.sum()))]
        agree &= not off
        told = ", ".join(f"{outcome} {count}" for outcome, count in outcomes.items())
        print(f"| {kind or 'none'} | {len(struck)} | {told} | {sent:,} | {kept:,} | {'yes' if not off else off[:5]} |")
    return agree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--share", type=float, default=0.05, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=[kind for kind in OUTCOMES if kind])
    chosen = parser.parse_args()
    agree = True
    for kinds in (tuple(chosen.kinds),) if chosen.kinds else RUNS:
        agree &= one_run(kinds, chosen.share, chosen.requests, chosen.streams, chosen.seed)
    sys.exit(not agree)


if __name__ == "__main__":
    main()
