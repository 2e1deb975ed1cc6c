"""What the load client costs when the server costs next to nothing: CPU time and rate, level by level.

    python benchmarks/client_cpu.py [--levels 512 1024] [--runs 5]

`client.py` measures errors against the fake engine, which knows the truth, but is as busy as the client and shares a
core's units with it. Here the server is `chunk_server.c` (compiled with cc): 64 tokens out, 100 ms to the first, 20 ms
between them. Each run is one `quantcheck load`; figures are medians over the runs, with their range.

    of possible  output tokens/s over what the server's script gives when neither side is ever late, %
    CPU          user and system time of the load's processes while sending and receiving, s per 1,000 tokens
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from chunk_server import ChunkServer

TOKENS, TTFT_S, ITL_S = 64, 0.1, 0.02
PER_STREAM = 3


def one_run(port: int, streams: int, folder: Path) -> dict[str, float]:
    """One `quantcheck load`."""
    out = folder / "run.json"
    done = subprocess.run(
        [sys.executable, "-m", "quantcheck", "load", "--url", f"http://127.0.0.1:{port}", "--model", "fake",
         "-c", str(streams), "-n", str(PER_STREAM * streams), "--prompt-tokens", str(TOKENS),
         "--output-tokens", str(TOKENS), "--vocab-size", "32000", "--out", str(out), "--quiet"],
        check=False, timeout=600)
    if done.returncode not in (0, 1):  # 1: some answer is bad or the client was the limit, which the table tells
        raise SystemExit(done.returncode)
    result = json.loads(out.read_text(encoding="utf-8"))["loads"][0]["result"]
    rate = result["metrics"]["output_throughput"]
    return {"rate": rate, "possible": 100 * rate * (TTFT_S + (TOKENS - 1) * ITL_S) / (streams * TOKENS),
            "cpu": 1e3 * result["client"]["cpu_s"] / (TOKENS * sum(result["outcomes"].values())),
            "failed": sum(count for outcome, count in result["outcomes"].items() if outcome != "ok"),
            "limited": len(result["client"]["limited"])}


COLUMNS = (("rate", "tok/s", 0), ("possible", "of possible %", 1), ("cpu", "CPU s/1k", 4), ("failed", "failed", 0),
           ("limited", "invalid", 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ChunkServer(folder) as server:
            print(f"{chosen.runs} runs a level: median (lowest to highest)")
            print("| streams | " + " | ".join(name for _, name, _ in COLUMNS) + " |")
            print("|---|" + "---|" * len(COLUMNS), flush=True)
            for streams in chosen.levels:
                runs = [one_run(server.port, streams, folder) for _ in range(chosen.runs)]
                cells = []
                for key, _, digits in COLUMNS:
                    values = [run[key] for run in runs]
                    low, high = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
                    cells.append(f"{median(values):,.{digits}f} ({low} to {high})")
                print(f"| {streams:,} | " + " | ".join(cells) + " |", flush=True)
        print("server:", server.said)


if __name__ == "__main__":
    main()
