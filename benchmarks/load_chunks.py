"""Several tokens a chunk: are ITL, TPOT and throughput still those of tokens?

    python benchmarks/load_chunks.py [--streams 16] [--requests 96] [--runs 3]

`quantcheck load` against the fake engine (64 tokens out, TTFT 100 ms, 10 ms a token), whose chunks carry what a pattern
says, cycled. The truth is the script's: a chunk of k tokens comes k times 10 ms after the one before it, so that every
token takes 10 ms, TPOT is 10 ms times the tokens after the first chunk over 63, and the rate is streams times 64 over a
whole answer's time. How the tokens of a chunk are told is a row of its own: their ids, a running usage, or nothing but
the answer's total. With the last, chunks cannot be told apart: TPOT and the rate are right, the ITL is n/a, and the
record says so in `token_counts`. Figures are medians over the runs.

    ITL, TPOT, rate   reported, and its error against the script, %
    worst             the greatest of these errors over all runs, %; above 1: status 1
    counted by        as the record says
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.script import Script

TOKENS, TTFT_S, ITL_S = 64, 0.1, 0.01
PATTERNS = ((1,), (2,), (4,), (1, 4, 2, 3), (4, 1, 3, 2), (3, 1))
TOLD: dict[str, dict[str, Any]] = {
    "ids": {}, "running usage": {"token_ids": False, "usage": "every"}, "total only": {"token_ids": False}}
MOST_PERCENT = 1.0
KEYS = ("itl", "tpot", "output_throughput")


def expected(script: Script, streams: int) -> dict[str, float]:
    """The figures when neither side is ever late."""
    chunks = script.chunk_tokens(TOKENS)
    after_first_s = script.itl_s * sum(chunks[1:])
    return {"itl": script.itl_s, "tpot": after_first_s / (TOKENS - 1),
            "output_throughput": streams * TOKENS / (script.ttft_s + after_first_s)}


def one_run(script: Script, streams: int, requests: int) -> dict[str, Any]:
    """The `result` of one `quantcheck load`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with FakeServer(script, log=folder / "server.log") as engine:
            done = subprocess.run(
                [sys.executable, "-m", "quantcheck", "load", "--url", engine.endpoint.base_url, "--model", "fake",
                 "-c", str(streams), "-n", str(requests), "--output-tokens", str(TOKENS), "--vocab-size", "32000",
                 "--out", str(folder / "run.json"), "--quiet"],
                capture_output=True, text=True, check=False, timeout=600,
                env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"})
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr)
        result: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))["loads"][0]["result"]
    if result["outcomes"] != {"ok": requests}:
        raise SystemExit(f"not all answers are whole: {result['outcomes']}; {result['faults']}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    print(f"{chosen.streams} streams, {chosen.requests} requests of {TOKENS} tokens, {chosen.runs} runs a row")
    print("| tokens a chunk | told by | ITL ms (error %) | TPOT ms (error %) | tok/s (error %) | worst % "
          "| counted by |")
    print("|---|---|---|---|---|---|---|", flush=True)
    greatest = 0.0
    for pattern in PATTERNS:
        for told, options in TOLD.items():
            script = Script(ttft_s=TTFT_S, itl_s=ITL_S, token_pattern=pattern, **options)
            truth = expected(script, chosen.streams)
            runs = [one_run(script, chosen.streams, chosen.requests) for _ in range(chosen.runs)]
            cells, worst = [], 0.0
            for key in KEYS:
                values = [run["metrics"].get(key) for run in runs]
                if None in values:  # which chunk carried how many tokens is not told: no ITL rather than a wrong one
                    cells.append("n/a")
                    continue
                error = [100 * (value / truth[key] - 1) for value in values]
                worst = max(worst, *map(abs, error))
                scale, digits = (1, 1) if key == "output_throughput" else (1e3, 3)
                cells.append(f"{scale * median(values):,.{digits}f} ({median(error):+.2f})")
            greatest = max(greatest, worst)
            counted = ", ".join(sorted({how for run in runs for how in run["token_counts"]["counted_by"]}))
            print(f"| {', '.join(map(str, pattern))} | {told} | {' | '.join(cells)} | {worst:.2f} | {counted} |",
                  flush=True)
    sys.exit(greatest > MOST_PERCENT)


if __name__ == "__main__":
    main()
