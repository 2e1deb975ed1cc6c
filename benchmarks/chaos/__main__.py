"""Is anything measured lost, counted twice or left running when a run is struck at any moment?

    python -m benchmarks.chaos [--trials 200] [--seed 8] [--kinds KIND ...] [--only N ...] [--keep FOLDER]

In each trial a real `quantcheck run` of a small experiment is struck at a moment drawn by the seed: quantcheck itself
(SIGKILL, SIGINT, SIGTERM; half of the times at a drawn file operation of its own, half at a drawn time), the client's
worker, the engine, or the scoring process (SIGKILL). In a fifth of the trials the resumed run is struck, too. Then it
is resumed to its end. After each stroke: nothing of it runs within 10 s, also no orphan; no lock is held; every cell is
whole, and those that were complete are there byte for byte; quantcheck ended with its own words and no traceback. After
the end: exactly the planned cells, each once, reported as undisturbed; those that were complete before, byte for byte,
taken by the resumed run without starting their engines; quality to the last digit as undisturbed; no file that is not
documented, in results, cache and TMPDIR. A drawn moment after the end of a run is drawn again.

    cells   complete at the (last) stroke, of those planned
    runs    starts of quantcheck in the trial

A trial with a fault keeps its folder, says what it found, and ends all with status 1.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.chaos.checks import cells_of
from benchmarks.chaos.kinds import KINDS
from benchmarks.chaos.processes import adopt_orphans
from benchmarks.chaos.trial import Trial, measure_reference, try_once


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--only", nargs="+", type=int, help="only the trials of these numbers, of the same draw")
    parser.add_argument("--keep", type=Path, help="where the folders are [a temporary folder]")
    asked = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    adopt_orphans()
    folder = (asked.keep or Path(tempfile.mkdtemp(prefix="chaos-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = random.Random(asked.seed).choices(
        [KINDS[name] for name in asked.kinds], [KINDS[name].share for name in asked.kinds], k=asked.trials)
    references = {kind.name: measure_reference(kind, folder / kind.name.replace(" ", "-"))
                  for kind in dict.fromkeys(chosen)}
    for name, reference in references.items():
        print(f"{name}: undisturbed {len(cells_of(reference.out))} cells in {reference.seconds:.1f} s, "
              f"{reference.steps} steps", flush=True)
    print(f"\n{'':>4} {'kind':18} {'cells':>6} {'runs':>4} {'s':>5}  strokes")
    began = time.monotonic()
    done: list[tuple[str, Trial]] = []
    for number, kind in enumerate(chosen):
        if asked.only and number not in asked.only:
            continue
        reference = references[kind.name]
        trial = try_once(kind, reference, f"{asked.seed}/{number}", folder / f"trial-{number}")
        done.append((kind.name, trial))
        print(f"{number:4} {kind.name:18} {trial.kept:>2} of {len(cells_of(reference.out))} {trial.runs:4} "
              f"{trial.seconds:5.1f}  {', then '.join(map(str, trial.strokes))}", flush=True)
        for fault in trial.faults:
            print(f"     FAULT {fault}", flush=True)
    _table(done)
    good = sum(not trial.faults for _, trial in done)
    print(f"\n{good} of {len(done)} trials without a fault, {sum(len(trial.strokes) for _, trial in done)} strokes, "
          f"{sum(trial.runs for _, trial in done)} runs, {time.monotonic() - began:.0f} s; seed {asked.seed}")
    if good < len(done):
        print(f"kept: {folder}")
    return int(good < len(done))


def _table(done: list[tuple[str, Trial]]) -> None:
    made: Counter[tuple[str, str, str]] = Counter()
    bad: Counter[tuple[str, str, str]] = Counter()
    for kind, trial in done:
        for stroke in trial.strokes:
            made[kind, stroke.victim.name, stroke.number.name] += 1
            bad[kind, stroke.victim.name, stroke.number.name] += bool(trial.faults)
    print(f"\n{'kind':18} {'victim':12} {'signal':8} {'strokes':>7} {'in trials with a fault':>22}")
    for row, count in sorted(made.items()):
        print(f"{row[0]:18} {row[1]:12} {row[2]:8} {count:7} {bad[row]:22}")


if __name__ == "__main__":
    sys.exit(main())
