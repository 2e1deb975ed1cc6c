"""Parts of quality cells as they come from the nodes, on the driver's disk until a cell has all of them.

They lie in the results folder's working files: a run that is stopped and goes on with the same shares needs no part
again. Knows no Ray.
"""

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quantcheck.errors import MeasurementError, StoreError
from quantcheck.quality.parts import Part, Span, figures, joined
from quantcheck.runner.scoring import store_quality
from quantcheck.store import CellKey, Store

__all__ = ["Gather"]


class Gather:
    """The parts of one run's cells."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = store.work / "parts"
        self._expected: dict[str, list[Span]] = {}

    def expect(self, key: CellKey, spans: Iterable[Span]) -> None:
        """The cell `key` will be made of the parts with these spans; a damaged one of an earlier run is dropped."""
        self._expected[key.id] = sorted(spans)
        for span in self._expected[key.id]:
            path = self._path(key, span)
            if path.exists():
                try:
                    self._read(path)
                except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
                    path.unlink(missing_ok=True)

    def has(self, key: CellKey, span: Span) -> bool:
        return self._path(key, span).exists()

    def add(self, key: CellKey, packed: bytes, record: Mapping[str, Any]) -> None:
        """Keep a part, with the record of the cell that it is of; one that is there already changes nothing.

        Raises `StoreError` when the disk is full.
        """
        part = Part.unpacked(packed)
        path = self._path(key, (part.begin, part.end))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for name, content in ((path.with_suffix(".json"), json.dumps(dict(record)).encode()), (path, packed)):
                with name.with_name(f"{name.name}.part").open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                name.with_name(f"{name.name}.part").replace(name)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror}); free disk space and run again") from error

    def store(self, key: CellKey) -> float | None:
        """Store the cell when all its parts are here: the seconds that they took together; None when one is missing.

        Raises `MeasurementError` when nodes read unlike files.
        """
        paths = [self._path(key, span) for span in self._expected[key.id]]
        if self._store.has(key) or not all(path.exists() for path in paths):
            return None
        found = [self._read(path) for path in paths]
        try:
            whole = joined(part for part, _ in found)
        except ValueError as error:
            raise MeasurementError(f"{key.variant}, {key.subject}: its parts do not belong together ({error}); "
                                   "give all nodes the same files") from error
        assert whole is not None
        result, table = figures(whole)
        records = [record for _, record in found]
        seconds = float(sum(record["duration_s"] for record in records))
        store_quality(self._store, key, {
            **records[0],
            "started_at": min(record["started_at"] for record in records),
            "duration_s": seconds,
            "parts": [{"begin": part.begin, "end": part.end, "node": record["node"],
                       "started_at": record["started_at"], "duration_s": record["duration_s"]}
                      for part, record in found],
        }, result, table)
        return seconds

    def _path(self, key: CellKey, span: Span) -> Path:
        return self._folder / key.id / f"{span[0]}-{span[1]}.npz"

    @staticmethod
    def _read(path: Path) -> tuple[Part, dict[str, Any]]:
        return Part.unpacked(path.read_bytes()), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
