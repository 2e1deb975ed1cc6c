"""How often does a whole run find a difference between two equal variants?

    python benchmarks/false_findings.py --engine fake --runs 40 [--blocks 3]
    python benchmarks/false_findings.py --embedded --runs 10 [--keep DIR]

Every run is `runner.run` of an experiment whose variant is the baseline under another name. Counted are the verdict
words of that variant: its overall speed word, the throughput word at every load, and with --embedded also its overall
quality word and the word of every task and corpus. `faster`, `slower` and `harmed` are false; at most 5% may be. Beside
them: how many 95% intervals leave out 1, which a margin cannot hide.

With --engine fake the timings are scripted (TTFT 20 ms, ITL 4 ms), at 1 and 4 streams; what differs between two starts
is the machine and the client. With --embedded it is the reference model in F16 twice on llama.cpp,
out of presets/reference.yaml made small. Run it with nothing else on the machine.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from quantcheck.report.summary import Summary
from quantcheck.runner.run import run
from quantcheck.spec.experiment import Experiment

FALSE = ("faster", "slower", "harmed")
BAR = 0.05


def fake(seed: int, blocks: int) -> Experiment:
    """Two names for one scripted server."""
    return Experiment.model_validate({
        "name": "false-findings", "model": "none", "baseline": "a", "blocks": blocks, "seed": seed,
        "variants": {"a": {"scheme": "gguf/F16"}, "b": {"scheme": "gguf/Q8_0"}},
        "engine": {"kind": "fake", "ttft_ms": 20, "itl_ms": 4},
        "load": {
            "workloads": {"short": {"prompt_tokens": 8, "output_tokens": 12}},
            "concurrency": [1, 4], "requests": 8, "warmup_requests": 1,
        },
        "policy": {"margin": {"throughput_ratio": 0.02}},
    })  # fmt: skip


def embedded(seed: int, blocks: int) -> Experiment:
    """The embedded default, small: F16 against F16."""
    return Experiment.model_validate({
        "name": "false-findings", "model": "reference", "baseline": "F16", "blocks": blocks, "seed": seed,
        "variants": {"F16": {"scheme": "gguf/F16"}, "F16-again": {"scheme": "gguf/F16"}},
        "load": {
            "workloads": {"short": {"prompt_tokens": 16, "output_tokens": 16},
                          "medium": {"prompt_tokens": 64, "output_tokens": 32}},
            "concurrency": [1, 4], "requests": 12, "warmup_requests": 1,
        },
        "quality": {"items": 200, "tokens": 4096, "suites": [
            "reference/documentation", "reference/arithmetic", "reference/knowledge",
        ]},
    })  # fmt: skip


def words_of(summary: Summary, variant: str) -> Iterator[tuple[str, str | None]]:
    """(which word, the word) of everything that is counted."""
    row = next(row for row in summary.variants if row.name == variant)
    yield "overall speed", row.speed.word
    yield from ((f"throughput at {r.load}", r.word) for r in summary.speed
                if r.variant == variant and r.metric == "output_throughput")  # fmt: skip
    if summary.quality or summary.corpora:
        yield "overall quality", row.quality.word
    yield from ((r.task, r.word) for r in summary.quality if r.variant == variant)
    yield from ((r.corpus, r.word) for r in summary.corpora if r.variant == variant)


def line(number: int, summary: Summary, variant: str, seconds: float) -> str:
    speed = next(row for row in summary.variants if row.name == variant).speed
    ratio, floor = speed.ratio, next((r.effect for r in summary.noise_floor if r.subject == "all loads"), None)
    moved = max((abs(row.drift.value) for row in summary.blocks if row.drift.value is not None), default=0.0)
    band = "n/a" if ratio.low is None else f"{ratio.low:.4f}-{ratio.high:.4f}"
    value = "n/a" if ratio.value is None else f"{ratio.value:.4f}"
    twin = "n/a" if floor is None or floor.value is None else f"{floor.value:.4f}"
    return f"{number:>4} {seconds:>6.1f} s  ratio {value} ({band})  twin {twin}  largest drift {moved:.1%}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["fake"], help="scripted timings")
    parser.add_argument("--embedded", action="store_true", help="the reference model on llama.cpp")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder for the results; none: they are deleted")
    args = parser.parse_args()
    if bool(args.engine) == args.embedded:
        parser.error("give one of --engine fake and --embedded")
    print(f"$ python {' '.join(sys.argv)}\n", flush=True)
    counted: dict[str, Counter[str]] = {}
    intervals = beyond = 0
    began = time.monotonic()
    for number in range(args.runs):
        started = time.monotonic()
        experiment = (embedded if args.embedded else fake)(number, args.blocks)
        variant = next(name for name in experiment.variants if name != experiment.baseline)
        place: Any = nullcontext(str(args.keep / str(number))) if args.keep else tempfile.TemporaryDirectory()
        with place as folder:
            summary = run(experiment, Path(folder)).summary
        false = []
        for what, word in words_of(summary, variant):
            counted.setdefault(what, Counter())[word or "n/a"] += 1
            if word in FALSE:
                false.append(f"{what}: {word}")
        ratios = [row.ratio for row in summary.speed if row.variant == variant and row.metric == "output_throughput"]
        ends = [(ratio.low, ratio.high) for ratio in ratios if ratio.low is not None and ratio.high is not None]
        intervals += len(ends)
        beyond += sum(not low <= 1 <= high for low, high in ends)
        found = "  FALSE " + "; ".join(false) if false else ""
        print(line(number, summary, variant, time.monotonic() - started) + found, flush=True)
    total = sum(sum(words.values()) for words in counted.values())
    wrong = sum(words[word] for words in counted.values() for word in FALSE)
    print(f"\n{args.runs} runs of {args.blocks} blocks, {time.monotonic() - began:,.0f} s")
    for what, words in counted.items():
        print(f"  {what:<26} " + ", ".join(f"{count} {word}" for word, count in words.most_common()))
    share = beyond / max(intervals, 1)
    print(f"throughput intervals at a load that leave out 1: {beyond} of {intervals} ({share:.1%})")
    print(f"false words: {wrong} of {total} ({wrong / total:.1%}); at most {BAR:.0%} may be")
    return 0 if wrong <= BAR * total else 1


if __name__ == "__main__":
    sys.exit(main())
