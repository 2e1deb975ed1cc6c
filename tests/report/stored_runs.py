"""Runs as `quantcheck compare` and `plan` find them: in memory, or written into a results folder."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from quantcheck.report.stored import StoredRun
from quantcheck.spec.experiment import Experiment
from quantcheck.store import CellKey, Store
from quantcheck.telemetry.environment import hardware_id
from tests.report import synthetic
from tests.report.synthetic import FakeCell


def document(experiment: Experiment, **changes: Any) -> dict[str, Any]:
    found = {
        "schema": 1, "quantcheck": "0.1.0", "harness": 3, "hardware_id": hardware_id(),
        "experiment": experiment.model_dump(mode="json", by_alias=True),
        "environment": synthetic.ENVIRONMENT, "problems": [],
        "artifacts": {name: {**recipe, "source": {"kind": "huggingface", "sha256": "5" * 64}}
                      for name, recipe in synthetic.artifacts().items()},
    }  # fmt: skip
    return {**found, **changes}


def in_memory(cells: Iterable[FakeCell], name: str = "a", *, changes: dict[str, Any] | None = None,
              **more: Any) -> StoredRun:
    experiment = synthetic.experiment(**(changes or {}))
    return StoredRun(Store(Path(name)), document(experiment, **more), experiment, tuple(cells))  # type: ignore[arg-type]


def written(root: Path, experiment: Experiment, cells: Iterable[FakeCell], *, finished: bool = True,
            **more: Any) -> Store:
    """A run in `root`; one that is not finished has not noted its cells nor its artifacts, unless `more` does."""
    store = Store(root)
    store.lock()
    ids = []
    for cell in cells:
        key = CellKey(**cell.record["key"])
        store.write(key, {k: v for k, v in cell.record.items() if k not in ("schema", "key")}, cell.tables)
        ids.append(key.id)
    told = document(experiment, **more)
    if finished:
        told["cells"] = ids
    else:
        told = {key: value for key, value in told.items() if key in more or key not in ("artifacts", "problems")}
    store.write_document("experiment.json", json.dumps(told))
    store.unlock()
    return store
