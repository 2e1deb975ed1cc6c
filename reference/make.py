"""All steps of the reference model, in order, each skipped when its output is there.

    python reference/make.py              on a Debian machine with CUDA: everything
    python reference/make.py --steps 20   a smoke test

Needs apt-get and dpkg for the text, PyTorch with CUDA for the training; `llama-quantize` on the PATH (or
named with --quantizer) for the ladder, which is left out without it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHIPPED = HERE.parent / "src" / "quantcheck" / "reference"
# the length of the shipped model's training
STEPS = 16_000
COUNTS = {"arithmetic": 2_400_000, "expressions": 1_600_000, "knowledge": 1_600_000, "format": 1_600_000,
          "stories": 120_000}  # fmt: skip


def run(script: str, *arguments: object) -> None:
    print(f"== {script}", flush=True)
    subprocess.run([sys.executable, str(HERE / script), *map(str, arguments)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=HERE / "build", help="corpus, rows: large, not committed")
    parser.add_argument("--out", type=Path, default=SHIPPED / "model")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--minutes", type=float, default=0.0, help="instead of steps: as many as fit")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the generated samples")
    parser.add_argument("--wikitext", type=Path, default=HERE / "build" / "wikitext2-test.txt")
    parser.add_argument("--quantizer", default=shutil.which("llama-quantize") or "")
    parser.add_argument("--seed", type=int, default=20261120)
    parser.add_argument("--batch", type=int, default=256)
    a = parser.parse_args()
    a.build.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(HERE))
    corpus_file, rows = a.build / "corpus.jsonl.xz", a.build / "rows"
    if not corpus_file.exists():
        run("corpus.py", corpus_file, a.build / "packages")
    if not (SHIPPED / "skills" / "arithmetic.jsonl").exists():
        run("heldout.py", a.build / "packages")
    if not (a.out / "tokenizer.json").exists():
        import tokenizer

        tokenizer.build(corpus_file, a.out)
    if not (rows / "documentation.npy").exists():
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        import data

        data.build(corpus_file, a.out, rows, {n: int(c * a.scale) for n, c in COUNTS.items()}, a.seed)
        a.results.mkdir(parents=True, exist_ok=True)
        shutil.copy(rows / "data.json", a.results)
    if not (a.out / "model.safetensors").exists():
        run("train.py", "--data", rows, "--out", a.out, "--log", a.results / "training.csv", "--seed", a.seed,
            "--batch", a.batch, *(["--minutes", a.minutes] if a.minutes else ["--steps", a.steps]))  # fmt: skip
    if not (a.results / "evaluation.json").exists():
        run("evaluate.py", "--model", a.out, "--wikitext", a.wikitext, "--out", a.results / "evaluation.json")
    if a.quantizer and not (a.results / "ladder.json").exists():
        run("ladder.py", "--model", a.out, "--quantizer", a.quantizer, "--wikitext", a.wikitext,
            "--out", a.results / "ladder.json")  # fmt: skip
    if (a.results / "ladder.json").exists() and not (a.out / "README.md").exists():
        run("card.py", "--model", a.out, "--results", a.results)


if __name__ == "__main__":
    main()
