"""How long `quantcheck runs` takes for a store of many cells.

    python benchmarks/store_list.py [--cells 100000] [--runs 200]

A made-up store: folders with one small cell.json and one Parquet file each, as a run names them. The command is started
as a user starts it; its wall time is printed, start of Python included: of the first listing, which reads every run, of
later ones, and of those after a cell was added to one run in ten.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from quantcheck.report.runs import SETTLED_S
from quantcheck.spec.experiment import Experiment
from quantcheck.store import CellKey, Store

TIMES = 5
BLOCKS = 50


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--cells", type=int, default=100_000)
    options.add_argument("--runs", type=int, default=200)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for run in range(given.runs):
            _make(root / f"run-{run:04d}", given.cells // given.runs)
        time.sleep(SETTLED_S + 1)
        first = _list(root, given.cells)
        times = [_list(root, given.cells) for _ in range(TIMES)]
        changed = []
        for number in range(TIMES):
            for run in range(0, given.runs, 10):
                (root / f"run-{run:04d}" / "cells" / f"unplanned-{number}").mkdir()
            changed.append(_list(root, given.cells))
    print(f"{given.cells:,} cells in {given.runs:,} runs: {_words(times)}; the first time {first:.2f} s; "
          f"after a cell was added to one run in ten {_words(changed)}")
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}; load average {os.getloadavg()[0]:.1f}")


def _make(root: Path, cells: int) -> None:
    experiment = Experiment.model_validate({
        "name": root.name, "model": "none", "baseline": "a", "noise_floor": False, "blocks": BLOCKS,
        "variants": {"a": {"scheme": "gguf/F16"}, "b": {"scheme": "gguf/Q8_0"}}, "engine": {"kind": "fake"},
        "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 8}},
                 "concurrency": list(range(1, cells // BLOCKS // 2 + 1))},
    })
    store = Store(root)
    store.lock()
    names = [CellKey("load", variant, f"s@c{streams}", block, f"{block:064x}").id for block in range(BLOCKS)
             for variant in "ab" for streams in range(1, cells // BLOCKS // 2 + 1)]
    for name in names:
        path = root / "cells" / name
        path.mkdir()
        (path / "cell.json").write_text('{"schema": 1}')
        (path / "requests.parquet").write_bytes(b"PAR1" * 64)
    store.write_document("experiment.json", json.dumps({
        "experiment": experiment.model_dump(mode="json", by_alias=True), "planned": names, "cells": names,
    }))
    store.unlock()


def _words(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} s (median of {len(times)}; {min(times):.2f} to {max(times):.2f})"


def _list(root: Path, cells: int) -> float:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "quantcheck", "runs", str(root), "--json"], capture_output=True,
                          check=True)
    took = time.monotonic() - began
    lines = json.loads(done.stdout)
    assert sum(line["stored"] for line in lines) == cells
    return took


if __name__ == "__main__":
    main()
