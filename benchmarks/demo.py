"""Wall time of the embedded default by stage, and its overhead.

    python benchmarks/demo.py [PRESET]

Overhead is the wall time of the run over the time that measuring itself takes: engine starts, measured windows with
their warm-up, and scored suites. The aim is under 1.15.
"""

import sys
import tempfile
from pathlib import Path

from quantcheck import presets
from quantcheck.runner.run import run
from quantcheck.store import Store


def main() -> None:
    experiment = presets.load(sys.argv[1] if len(sys.argv) > 1 else presets.DEFAULT)
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(experiment, Path(folder) / "results")
        cells = list(Store(Path(folder) / "results").cells())
        measured = sum(cell.record["duration_s"] for cell in cells)
        starts = {(cell.key.variant, cell.key.block): cell.record["result"]["ready_s"]
                  for cell in cells if cell.key.kind == "load"}
    for stage, seconds in outcome.stages.items():
        print(f"{stage:12}{seconds:8.1f} s")
    ideal = measured + sum(starts.values())
    print(f"{'starts':12}{sum(starts.values()):8.1f} s  ({len(starts)} engine starts)")
    print(f"{'windows':12}{measured:8.1f} s  ({len(cells)} cells)")
    print(f"overhead    {outcome.stages['total'] / ideal:8.3f}")


if __name__ == "__main__":
    main()
