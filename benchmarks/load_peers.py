"""Do we agree with GuideLLM where it is right: one stream on a real server?

    python benchmarks/load_peers.py --guidellm .venv-guidellm/bin/guidellm [--requests 60] [--rounds 3]
                                    [--threads 1]

llama.cpp's server with the reference model (F16), 64 tokens in, 32 out, concurrency 1, /v1/completions. Both clients
measure the same server, whose one thread leaves them a core, in turns, the first of them changing from round to round.
The medians should lie within 2 ms of each other, prompts being of the same length as the server counts them. They need
not be equal: GuideLLM sends text that the server tokenizes, stamps in user space, and takes a request's ITL to be its
mean, which is our TPOT; our ITL is the median of single gaps. Its ITL is compared with both.

GuideLLM is no dependency of quantcheck. It is installed beside it:

    python3.11 -m venv .venv-guidellm && .venv-guidellm/bin/pip install torch==2.13.0 guidellm==0.8.1
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from quantcheck import presets, reference
from quantcheck.engines.llamacpp import LlamaCppServer
from quantcheck.spec.experiment import LlamaCppEngine
from quantcheck.variants.make import prepare

PROMPT, ANSWER = 64, 32
BOS = 1
"""The server puts a token before text, which GuideLLM sends, and none before the ids that we send. One token more than
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
    return {key: 1e3 * result["metrics"][key] for key in ("ttft", "itl", "tpot", "e2e")}


def theirs(guidellm: Path, url: str, model: str, requests: int, folder: Path) -> dict[str, float]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guidellm", type=Path, required=True, help="the program, in an environment of its own")
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the server: what is left is the clients'")
    chosen = parser.parse_args()
    if not chosen.guidellm.is_file():
        raise SystemExit(f"{chosen.guidellm}: is not there; install it with\n  python3.11 -m venv .venv-guidellm && "
                         ".venv-guidellm/bin/pip install torch==2.13.0 guidellm==0.8.1")
    experiment = presets.load("reference")
    artifact = prepare(experiment.model, {"F16": experiment.variants["F16"]})["F16"]
    rounds: list[tuple[dict[str, float], dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine = LlamaCppServer(LlamaCppEngine(threads=chosen.threads), artifact.path, name="F16", slots=1,
                                tokens=PROMPT + ANSWER + SPARE, log=folder / "server.log")
        with engine:
            url = engine.endpoint.base_url
            print(f"{chosen.requests} requests a client and round; medians in ms")
            print("| round | TTFT ours | GuideLLM | ITL ours | TPOT ours | ITL GuideLLM | its n, tokens in, out |")
            print("|---|---|---|---|---|---|---|", flush=True)
            for number in range(chosen.rounds):
                def peer() -> dict[str, float]:
                    return theirs(chosen.guidellm.absolute(), url, "F16", chosen.requests, folder)

                if number % 2:
                    them = peer()
                    we = ours(url, "F16", chosen.requests, folder)
                else:
                    we = ours(url, "F16", chosen.requests, folder)
                    them = peer()
                rounds.append((we, them))
                print(f"| {number + 1} | {we['ttft']:.3f} | {them['ttft']:.3f} | {we['itl']:.3f} | {we['tpot']:.3f} "
                      f"| {them['itl']:.3f} | {them['n']:.0f}, {them['prompt']:.0f}, {them['answer']:.0f} |",
                      flush=True)
    differences = {f"{own} against its {other}": median(them[other] - we[own] for we, them in rounds)
                   for own, other in (("ttft", "ttft"), ("itl", "itl"), ("tpot", "itl"))}
    print("GuideLLM minus ours, median of the rounds, ms: " + ", ".join(
        f"{key} {value:+.3f}" for key, value in differences.items()))
    sys.exit(any(abs(value) > WITHIN_MS for value in differences.values()))


if __name__ == "__main__":
    main()
