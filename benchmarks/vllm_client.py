"""Do we see what vLLM's own benchmark and vLLM itself see, on one running server?

    python benchmarks/vllm_client.py --url http://127.0.0.1:8000 --model NAME --tokenizer DIR --python PATH
        [--concurrency 1 64 256] [--rounds 3] [--prompt-tokens 512] [--output-tokens 128] [--out FILE.json]

In every round `vllm bench serve` (of the environment PATH) and `quantcheck load` measure each concurrency with random
prompts of the same lengths, the first of them changing from round to round. Printed are, per concurrency, medians over
the rounds: output tokens/s of both and their ratio (at least 0.98 wanted), and our median TTFT against the mean of the
server's own TTFT histogram in the same window (at most 2 ms above it wanted at one stream). vLLM's figure counts the
whole run with ramp and drain, ours the steady window, so ours may be higher.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

PER_STREAM = 4
LEAST = 32
BENCH = """
import argparse, sys
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


def requests_at(concurrency: int) -> int:
    return max(LEAST, PER_STREAM * concurrency)


def histogram(url: str, name: str) -> tuple[float, float]:
    """(sum, count) of one of the server's histograms."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = [re.findall(rf"^{name}_{part}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE) for part in ("sum", "count")]
    return sum(map(float, found[0])), sum(map(float, found[1]))


def theirs(given: argparse.Namespace, concurrency: int, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [given.python, "-c", BENCH, "--backend", "openai", "--base-url", given.url, "--model", given.model,
             "--tokenizer", str(given.tokenizer), "--dataset-name", "random",
             "--random-input-len", str(given.prompt_tokens), "--random-output-len", str(given.output_tokens),
             "--num-prompts", str(requests_at(concurrency)), "--max-concurrency", str(concurrency), "--ignore-eos",
             "--seed", str(seed), "--temperature", "0", "--save-result", "--result-dir", folder,
             "--result-filename", "r.json", "--disable-tqdm"],
            check=True, capture_output=True, text=True, timeout=600)
        found = json.loads((Path(folder) / "r.json").read_text(encoding="utf-8"))
    return {"output_tok_s": found["output_throughput"], "ttft_median_ms": found["median_ttft_ms"],
            "tpot_median_ms": found["median_tpot_ms"], "itl_median_ms": found["median_itl_ms"]}


def ours(given: argparse.Namespace, concurrency: int, seed: int) -> dict[str, Any]:
    before = histogram(given.url, "vllm:time_to_first_token_seconds")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "quantcheck", "load", "--url", f"{given.url}/v1", "--model", given.model,
             "-c", str(concurrency), "-n", str(requests_at(concurrency)), "--prompt-tokens", str(given.prompt_tokens),
             "--output-tokens", str(given.output_tokens), "--vocab-size", str(given.vocab_size), "--seed", str(seed),
             "--out", str(Path(folder) / "run.json"), "--quiet"],
            capture_output=True, text=True, check=False, timeout=600)
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr)
        result = json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))["loads"][0]["result"]
    after = histogram(given.url, "vllm:time_to_first_token_seconds")
    metrics = result["metrics"]
    return {"output_tok_s": metrics["output_throughput"], "ttft_median_ms": 1e3 * metrics["ttft"],
            "tpot_median_ms": 1e3 * metrics["tpot"], "itl_median_ms": 1e3 * metrics["itl"],
            "server_ttft_mean_ms": 1e3 * (after[0] - before[0]) / (after[1] - before[1]),
            "client": result["client"], "outcomes": result["outcomes"], "window": result["window"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable, help="of the environment that holds vLLM")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    stored: dict[str, Any] = {"command": " ".join(["python", *sys.argv]), "levels": {}}
    print("| streams | vllm bench tok/s | ours | ratio | our TTFT median ms | server's mean ms | bench's median ms |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for concurrency in given.concurrency:
        rounds = []
        for number in range(given.rounds):
            pair: dict[str, Any] = {}
            order = [("bench", theirs), ("quantcheck", ours)]
            for name, measure in order if number % 2 == 0 else order[::-1]:
                pair[name] = measure(given, concurrency, seed=1000 * concurrency + 2 * number + (name == "bench"))
            rounds.append(pair)
        stored["levels"][concurrency] = rounds
        if given.out:
            given.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        rate, own = (median(pair[who]["output_tok_s"] for pair in rounds) for who in ("bench", "quantcheck"))
        ttft, server = (median(pair["quantcheck"][key] for pair in rounds)
                        for key in ("ttft_median_ms", "server_ttft_mean_ms"))
        print(f"| {concurrency:,} | {rate:,.0f} | {own:,.0f} | {own / rate:.3f} | {ttft:.2f} | {server:.2f} | "
              f"{median(pair['bench']['ttft_median_ms'] for pair in rounds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
