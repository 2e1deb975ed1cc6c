"""What the page shows, made in a process of its own: `python -m quantcheck.dashboard.job REQUEST`, JSON in and out.

REQUEST: `{"summary": FOLDER, "running": bool}`, or `{"a": FOLDER, "b": FOLDER, "of": VARIANT, "with": VARIANT,
"force": bool}` for the comparison of two runs, a variant being null for all; in both `"measuring": bool`, whether any
run goes on. It ends with exit code 2 and `{"reason"}` where that cannot be done.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quantcheck.errors import QuantcheckError, StoreError
from quantcheck.report.compare import compare_runs
from quantcheck.report.stored import StoredRun, read_experiment, read_run
from quantcheck.report.summary import Summary
from quantcheck.store import Store

__all__ = ["answer", "main"]


def answer(request: Mapping[str, Any]) -> str:
    """The JSON document that is asked for. Raises `QuantcheckError` where there is none."""
    if "summary" in request:
        return _summary(Store(Path(request["summary"])), running=request["running"])
    runs = (_run(request["a"]), _run(request["b"]))
    found = compare_runs(*runs, variants=(request["of"], request["with"]), force=request["force"])
    return found.model_dump_json()


def _summary(store: Store, *, running: bool) -> str:
    """From the stored cells, or the one that the run wrote: when it came to its end, or no cells are kept with it."""
    document, _ = read_experiment(store)
    written, cells = store.root / "summary.json", any(store.cells())
    if not running and written.is_file() and ("cells" in document or not cells):
        try:
            return Summary.model_validate_json(written.read_bytes()).model_dump_json()
        except (OSError, ValidationError):
            # Of another version, or damaged: the cells tell.
            if not cells:
                raise StoreError(f"{written}: cannot be read by this version, and no cells are stored beside it") \
                    from None
    return read_run(store, unfinished=True, running=running).summary().model_dump_json()


def _run(folder: str) -> StoredRun:
    run = read_run(Store(Path(folder)))
    if run.document["cells"] and not run.cells:
        raise StoreError(f"{folder}: its cells are not in the folder, only its report; two runs are compared by their "
                         "cells")
    return run


def main(text: str) -> int:
    request = json.loads(text)
    # At 19 a busy machine leaves this a sixtieth of a core: right beside a measurement, else minutes of waiting.
    os.nice(19 if request["measuring"] else 5)
    try:
        print(answer(request))
    except QuantcheckError as error:
        print(json.dumps({"reason": str(error)}))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
