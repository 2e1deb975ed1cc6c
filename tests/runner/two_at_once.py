"""`python two_at_once.py FOLDER TRIES`: pairs of processes that run one experiment into one results folder, at once.

Process `a` and `b` of try N leave in FOLDER/said-N-a and -b how many cells they measured, or the error's words.
"""

import json
import os
import sys
import time
from pathlib import Path

import quantcheck
from quantcheck.errors import QuantcheckError

# Imported here, before the fork: the two begin at the same moment.
from quantcheck.runner.run import run

EXPERIMENT = {
    "name": "exp", "model": "none", "baseline": "a", "blocks": 1, "noise_floor": False,
    "variants": {"a": {"scheme": "gguf/F16"}, "b": {"scheme": "gguf/Q8_0"}},
    "engine": {"kind": "fake", "ttft_ms": 4, "itl_ms": 1},
    "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 6}}, "requests": 2, "warmup_requests": 1},
}  # fmt: skip


def begin(at: float, out: Path, said: Path) -> None:
    experiment = quantcheck.Experiment.model_validate(EXPERIMENT)
    while time.monotonic() < at:
        pass
    try:
        said.write_text(json.dumps(run(experiment, out).measured))
    except QuantcheckError as error:
        said.write_text(json.dumps(str(error)))


def main(folder: Path, tries: int) -> int:
    for number in range(tries):
        at, pids = time.monotonic() + 0.1, []
        for which in "ab":
            pid = os.fork()
            if pid == 0:
                try:
                    begin(at, folder / f"out-{number}", folder / f"said-{number}-{which}")
                    code = 0
                except BaseException as error:  # noqa: BLE001 (told, and the process ends)
                    print(repr(error), file=sys.stderr, flush=True)
                    code = 1
                os._exit(code)  # what the run started ends with this process
            pids.append(pid)
        if any(os.waitpid(pid, 0)[1] for pid in pids):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
