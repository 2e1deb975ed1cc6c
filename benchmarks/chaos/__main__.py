"""Is anything measured lost, counted twice or left running when a run is struck at any moment?

    python -m benchmarks.chaos [--trials 200] [--seed 8] [--kinds KIND ...] [--workers W] [--only N ...]
                               [--keep FOLDER]

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

Trials of several workers go on side by side. With the FOLDER of a call that was stopped, its finished trials are taken
as they are. A trial with a fault keeps its folder and says what it found; the exit
status is 1 then.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.chaos.checks import cells_of
from benchmarks.chaos.kinds import KINDS, Kind
from benchmarks.chaos.processes import adopt_orphans
from benchmarks.chaos.trial import measure_reference, try_once

Record = dict[str, Any]
"""One trial: number, kind, planned, kept, runs, seconds, strokes ([victim, signal, in words]), faults."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", nargs="+", type=int, help="only the trials of these numbers, of the same draw")
    parser.add_argument("--keep", type=Path, help="where the folders are [a temporary folder]")
    asked = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    folder = (asked.keep or Path(tempfile.mkdtemp(prefix="chaos-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    kinds = random.Random(asked.seed).choices(
        [KINDS[name] for name in asked.kinds], [KINDS[name].share for name in asked.kinds], k=asked.trials)
    numbers = asked.only or range(asked.trials)
    print(f"{'':>4} {'kind':18} {'cells':>6} {'runs':>4} {'s':>5}  strokes", flush=True)
    began, records = time.monotonic(), []
    for kind in dict.fromkeys(kinds[number] for number in numbers):
        measure_reference(kind, _place(kind, folder))
    tried = _spread(numbers, asked.workers, folder) if asked.workers > 1 else _tried(numbers, kinds, asked.seed, folder)
    for record in tried:
        records.append(record)
        print(f"{record['number']:4} {record['kind']:18} {record['kept']:>2} of {record['planned']} {record['runs']:4} "
              f"{record['seconds']:5.1f}  {', then '.join(stroke[2] for stroke in record['strokes'])}", flush=True)
        for fault in record["faults"]:
            print(f"     FAULT {fault}", flush=True)
    _table(records)
    good = sum(not record["faults"] for record in records)
    print(f"\n{good} of {len(numbers)} trials without a fault, {sum(len(record['strokes']) for record in records)} "
          f"strokes, {sum(record['runs'] for record in records)} runs, {time.monotonic() - began:.0f} s; "
          f"seed {asked.seed}")
    if good < len(numbers):
        print(f"kept: {folder}")
    return int(good < len(numbers))


def _tried(numbers: Sequence[int], kinds: Sequence[Kind], seed: int, folder: Path) -> Iterator[Record]:
    """The trials, one after the other; each is written down in the folder, too."""
    adopt_orphans()
    for number in numbers:
        if (folder / f"{number}.json").exists():
            yield json.loads((folder / f"{number}.json").read_text(encoding="utf-8"))
            continue
        kind = kinds[number]
        reference = measure_reference(kind, _place(kind, folder))
        trial = try_once(kind, reference, f"{seed}/{number}", folder / f"trial-{number}")
        record = {
            "number": number, "kind": kind.name, "planned": len(cells_of(reference.out)), "kept": trial.kept,
            "runs": trial.runs, "seconds": trial.seconds, "faults": trial.faults,
            "strokes": [[stroke.victim.name, stroke.number.name, str(stroke)] for stroke in trial.strokes],
        }
        part = folder / f".{number}.part"
        part.write_text(json.dumps(record), encoding="utf-8")
        part.replace(folder / f"{number}.json")
        yield record


def _spread(numbers: Sequence[int], workers: int, folder: Path) -> Iterator[Record]:
    """The trials, as processes of their own make them: each adopts the orphans of its own trials."""
    options = sys.argv[1:]
    if "--only" in options:
        raise SystemExit("--only: give it without --workers")
    processes = []
    for worker in range(workers):
        own = [str(number) for number in numbers[worker::workers]]
        with (folder / f"worker-{worker}.log").open("wb") as log:
            processes.append(subprocess.Popen(
                [sys.executable, "-m", "benchmarks.chaos", *options, "--workers", "1", "--keep", str(folder), "--only",
                 *own], stdout=log, stderr=log))
    told: set[Path] = set()
    while True:
        ended = all(process.poll() is not None for process in processes)
        for file in sorted({folder / f"{number}.json" for number in numbers} - told):
            if not file.exists():
                continue
            told.add(file)
            yield json.loads(file.read_text(encoding="utf-8"))
        if ended:
            return
        time.sleep(0.5)


def _place(kind: Kind, folder: Path) -> Path:
    return folder / kind.name.replace(" ", "-")


def _table(records: Sequence[Record]) -> None:
    made: Counter[tuple[str, str, str]] = Counter()
    bad: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        for victim, number, _ in record["strokes"]:
            made[record["kind"], victim, number] += 1
            bad[record["kind"], victim, number] += bool(record["faults"])
    print(f"\n{'kind':18} {'victim':12} {'signal':8} {'strokes':>7} {'in trials with a fault':>22}")
    for row, count in sorted(made.items()):
        print(f"{row[0]:18} {row[1]:12} {row[2]:8} {count:7} {bad[row]:22}")


if __name__ == "__main__":
    sys.exit(main())
