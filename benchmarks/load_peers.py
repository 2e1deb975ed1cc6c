"""Do we agree with GuideLLM and AIPerf where they are right: one stream on a real server?

    python benchmarks/load_peers.py [--guidellm .venv-guidellm/bin/guidellm] [--aiperf .venv-aiperf/bin/aiperf]
                                    [--requests 60] [--rounds 3] [--threads 1]

llama.cpp's server with the reference model (F16), 64 tokens in, 32 out, concurrency 1, /v1/completions. All clients
measure the same server, whose one thread leaves them a core, in turns, the first of them changing from round to round.
The medians should lie within 2 ms of each other; of TTFT, which holds the server's own time, what goes beyond that.
They need not be equal: the others send text that the server tokenizes, stamp in user space, and take a request's ITL to
be its mean, which is our TPOT; our ITL is the median of single gaps. Their ITL is compared with both.

Who is right about TTFT, the server tells: it logs how long each prompt took it, which is longer beside a client that
takes more of the two cores. TTFT less that (`late`) is the way there and back, the server's tokenizing and sampling,
and what the client adds.

They are no dependencies of quantcheck. They are installed beside it:

    python3.11 -m venv .venv-guidellm && .venv-guidellm/bin/pip install torch==2.13.0 guidellm==0.8.1
    python3.11 -m venv .venv-aiperf && .venv-aiperf/bin/pip install aiperf==0.13.0
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from quantcheck import presets, reference
from quantcheck.engines.llamacpp import LlamaCppServer
from quantcheck.spec.experiment import LlamaCppEngine
from quantcheck.variants.make import prepare

PROMPT, ANSWER = 64, 32
BOS = 1
"""The server puts a token before text, which the others send, and none before the ids that we send. One token more than
64 takes this server 2 ms more by its own clock."""
SPARE = 64
"""Tokens of the context beyond prompt and answer: text need not come to exactly as many tokens as were asked for."""
WITHIN_MS = 2.0
WARM = 5


def ours(url: str, model: str, requests: int, folder: Path) -> dict[str, float]:
    """Medians by `quantcheck load`, ms."""
    done = subprocess.run(
        [sys.executable, "-m", "quantcheck", "load", "--url", url, "--model", model, "-c", "1", "-n", str(requests),
         "--warmup", str(WARM), "--prompt-tokens", str(PROMPT), "--output-tokens", str(ANSWER), "--out",
         str(folder / "ours.json"), "--quiet"],
        capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise SystemExit(done.stderr)
    result = json.loads((folder / "ours.json").read_text(encoding="utf-8"))["loads"][0]["result"]
    if result["outcomes"] != {"ok": requests}:
        raise SystemExit(f"not all answers are whole: {result['outcomes']}; {result['faults']}")
    return {key: 1e3 * result["metrics"][key] for key in ("ttft", "itl", "tpot")} | {
        "n": float(requests), "prompt": PROMPT, "answer": ANSWER}


def by_guidellm(guidellm: Path, url: str, model: str, requests: int, folder: Path) -> dict[str, float]:
    """Medians by GuideLLM 0.8.1, ms; its first `WARM` requests are its warm-up."""
    done = subprocess.run(
        [str(guidellm), "run", "--backend", f"kind=openai_http,target={url},model={model},"
         "request_format=/v1/completions", "--tokenizer", f"kind=hf_auto,model={reference.model_dir()}",
         "--profile", f"kind=concurrent,streams=1,warmup={WARM}", "--data",
         f"kind=synthetic_text,prompt_tokens={PROMPT - BOS},output_tokens={ANSWER}",
         "--constraint", f"kind=max_requests,count={WARM + requests}",
         "--output", f"kind=json,path={folder / 'theirs.json'}", "--disable-console"],
        capture_output=True, text=True, check=False, timeout=600, cwd=folder, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    if done.returncode or not (folder / "theirs.json").exists():
        raise SystemExit(f"GuideLLM failed with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    found = json.loads((folder / "theirs.json").read_text(encoding="utf-8"))["benchmarks"][0]["metrics"]
    names = {"ttft": "time_to_first_token_ms", "itl": "inter_token_latency_ms", "prompt": "prompt_token_count",
             "answer": "output_token_count"}
    return {key: float(found[name]["successful"]["median"]) for key, name in names.items()} | {
        "n": float(found[names["ttft"]]["successful"]["count"])}


def by_aiperf(aiperf: Path, url: str, model: str, requests: int, folder: Path) -> dict[str, float]:
    """Medians by AIPerf 0.13.0, ms."""
    done = subprocess.run(
        [str(aiperf), "profile", "--model", model, "--url", url, "--endpoint-type", "completions", "--streaming",
         "--concurrency", "1", "--request-count", str(requests), "--warmup-request-count", str(WARM),
         "--synthetic-input-tokens-mean", str(PROMPT - BOS), "--synthetic-input-tokens-stddev", "0",
         "--output-tokens-mean", str(ANSWER), "--output-tokens-stddev", "0", "--extra-inputs", "ignore_eos:true",
         "--extra-inputs", "temperature:0",
         "--tokenizer", str(reference.model_dir()), "--artifact-dir", str(folder / "aiperf"), "--ui", "none",
         "--no-gpu-telemetry", "--no-server-metrics"],
        capture_output=True, text=True, check=False, timeout=600, cwd=folder)
    file = folder / "aiperf" / "profile_export_aiperf.json"
    if done.returncode or not file.exists():
        raise SystemExit(f"AIPerf failed with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    found = json.loads(file.read_text(encoding="utf-8"))
    names = {"ttft": "time_to_first_token", "itl": "inter_token_latency", "prompt": "input_sequence_length",
             "answer": "output_sequence_length"}
    return {key: float(found[name]["p50"]) for key, name in names.items()} | {"n": float(found["request_count"]["avg"])}


def prefill_ms(log: str, requests: int) -> float:
    """The median time of the last prompts that the server's log tells of."""
    return median(float(found) for found in re.findall(r"prompt eval time = *([0-9.]+) ms", log)[-requests:])


Peer = Callable[[str, str, int, Path], dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guidellm", type=Path, help="the program, in an environment of its own")
    parser.add_argument("--aiperf", type=Path, help="the program, in an environment of its own")
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the server: what is left is the clients'")
    chosen = parser.parse_args()
    clients: dict[str, Peer] = {"ours": ours}
    for name, program, ask in (("GuideLLM", chosen.guidellm, by_guidellm), ("AIPerf", chosen.aiperf, by_aiperf)):
        if program:
            if not program.is_file():
                raise SystemExit(f"{program}: is not there; how to install it is said above (--help)")
            clients[name] = partial(ask, program.absolute())
    if len(clients) == 1:
        raise SystemExit("name --guidellm or --aiperf, or both")
    experiment = presets.load("reference")
    artifact = prepare(experiment.model, {"F16": experiment.variants["F16"]})["F16"]
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "server.log"
        engine = LlamaCppServer(LlamaCppEngine(threads=chosen.threads), artifact.path, name="F16", slots=1,
                                tokens=PROMPT + ANSWER + SPARE, log=log)
        with engine:
            url = engine.endpoint.base_url
            print(f"{chosen.requests} requests a client and round; medians in ms")
            print("| round | client | TTFT | server's prefill | late | ITL | TPOT | n, tokens in, out |\n"
                  "|---|---|---|---|---|---|---|---|", flush=True)
            for number in range(chosen.rounds):
                order = list(clients)[:: -1 if number % 2 else 1]
                rounds.append({})
                for name in order:
                    told = len(log.read_text(encoding="utf-8"))
                    rounds[-1][name] = row = clients[name](url, "F16", chosen.requests, folder)
                    row["prefill"] = prefill_ms(log.read_text(encoding="utf-8")[told:], chosen.requests)
                    row["late"] = row["ttft"] - row["prefill"]
                for name in clients:
                    row = rounds[-1][name]
                    print(f"| {number + 1} | {name} | {row['ttft']:.3f} | {row['prefill']:.3f} | {row['late']:.3f} "
                          f"| {row['itl']:.3f} "
                          f"| {row.get('tpot', float('nan')):.3f} "
                          f"| {row['n']:.0f}, {row['prompt']:.0f}, {row['answer']:.0f} |", flush=True)
    apart = False
    for name in clients:
        if name == "ours":
            continue
        differences = {f"{own} against its {other}": median(row[name][other] - row["ours"][own] for row in rounds)
                       for own, other in (("ttft", "ttft"), ("late", "late"), ("itl", "itl"), ("tpot", "itl"))}
        print(f"{name} minus ours, median of the rounds, ms: " + ", ".join(
            f"{key} {value:+.3f}" for key, value in differences.items()))
        apart |= any(abs(value) > WITHIN_MS for key, value in differences.items() if not key.startswith("ttft"))
    sys.exit(apart)


if __name__ == "__main__":
    main()
