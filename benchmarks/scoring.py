"""Scoring speed: tokens per second of full logits, loglikelihoods and greedy answers, F16 against Q4_K_M.

    python benchmarks/scoring.py [--rounds 5]

Both variants of the reference model are open at once and scored in turn, so that a machine that drifts slows both;
the ratio is the median over the rounds of Q4_K_M / F16 in the same round.
"""

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from quantcheck import presets
from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.variants.make import prepare

SEQUENCES, LENGTH, ANSWER = 64, 256, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    experiment = presets.load("reference")
    names = ("F16", "Q4_K_M")
    artifacts = prepare(experiment.model, {name: experiment.variants[name] for name in names})
    threads = len(os.sched_getaffinity(0))
    scorers = {name: LlamaCppScorer(artifacts[name].path, threads=threads, context=512) for name in names}
    prompts = np.random.default_rng(0).integers(100, 4000, (SEQUENCES, LENGTH), dtype=np.int32)
    work: dict[str, Callable[[LlamaCppScorer], int]] = {
        "logits": lambda scorer: sum(len(rows) for rows in scorer.logits(list(prompts))),
        "loglikelihoods": lambda scorer: len(scorer.loglikelihoods(
            [(row[:32], row[32 + 4 * choice : 36 + 4 * choice]) for row in prompts for choice in range(4)])) // 4 * 48,
        "generate": lambda scorer: sum(
            32 + len(answer) for answer in scorer.generate([row[:32] for row in prompts], ANSWER, ())),
    }
    print(f"{threads} threads, {SEQUENCES} sequences, {rounds} rounds after one that is not counted")
    print(f"{'':16}{names[0] + ' tok/s':>14}{names[1] + ' tok/s':>16}{'ratio':>8}")
    for kind, score in work.items():
        rates: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(rounds + 1):
            for name in names if turn % 2 else names[::-1]:
                began = time.perf_counter()
                tokens = score(scorers[name])
                rates[name].append(tokens / (time.perf_counter() - began))
        f16, q4 = rates[names[0]][1:], rates[names[1]][1:]
        ratio = median(b / a for a, b in zip(f16, q4, strict=True))
        print(f"{kind:16}{median(f16):14,.0f}{median(q4):16,.0f}{ratio:8.2f}")


if __name__ == "__main__":
    main()
