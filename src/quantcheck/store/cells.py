"""The results folder of one experiment.

    results/NAME/
        experiment.json          the experiment as it was read, its hash, the machine
        cells/ID/cell.json       one cell: its key, what it was measured with, its result
        cells/ID/*.parquet       its raw samples
        logs/                    the engines' own words
        work/                    what may be deleted (made again when needed)

A cell is written into a folder beside its place and renamed into it after everything is on the disk: after a
power cut or `kill -9` it is there whole, or not at all.
"""

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from quantcheck.errors import StoreError
from quantcheck.store.tables import Table, read_table, write_table

__all__ = ["SCHEMA_VERSION", "Cell", "CellKey", "Store"]

SCHEMA_VERSION = 1
LOCK_PATIENCE_S = 0.2
"""How long `lock` asks again: who looks whether a folder is locked (`locked`) holds a shared lock for a moment."""


@dataclass(frozen=True, slots=True)
class CellKey:
    """What makes a cell itself: `digest` is the hash of everything that its result depends on."""

    kind: Literal["load", "quality"]
    variant: str
    subject: str
    block: int
    digest: str

    @property
    def id(self) -> str:
        """A folder name, readable and unique."""
        readable = re.sub(r"[^A-Za-z0-9.@_-]", "_", f"{self.variant}.{self.subject}.b{self.block}")
        return f"{readable}-{self.digest[:12]}"


@dataclass(frozen=True)
class Cell:
    """A stored cell; `record` is its cell.json."""

    folder: Path

    @cached_property
    def record(self) -> dict[str, Any]:
        record = _read_json(self.folder / "cell.json")
        if record.get("schema") != SCHEMA_VERSION:
            raise StoreError(f"{self.folder}: written with schema {record.get('schema')}, this version reads "
                             f"{SCHEMA_VERSION}; use the quantcheck that wrote it, or delete the folder")
        return record

    @property
    def key(self) -> CellKey:
        return CellKey(**self.record["key"])

    def table(self, name: str) -> dict[str, Any]:
        """The raw samples called `name`, as column -> array."""
        return read_table(self.folder / f"{name}.parquet")


class Store:
    """The results folder at `root`; `lock()` before writing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: int | None = None

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def work(self) -> Path:
        return self.root / "work"

    def lock(self) -> None:
        """Make the folders and claim them for this process; `StoreError` when another one has them."""
        try:
            for folder in (self.root / "cells", self.logs, self.work):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _unwritable(self.root, error) from error
        give_up = time.monotonic() + LOCK_PATIENCE_S
        while not _taken(self._lock, fcntl.LOCK_EX):
            if time.monotonic() > give_up:
                self.unlock()
                raise StoreError(f"{self.root}: another quantcheck is writing here; wait for it, or give another --out")
            time.sleep(0.005)
        for leftover in (self.root / "cells").glob(".writing-*"):
            shutil.rmtree(leftover)
        for leftover in self.root.glob(".*.part"):
            leftover.unlink()

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def locked(self) -> bool:
        """Whether some process writes here now. Changes nothing in the folder, and never keeps a writer out."""
        try:
            handle = os.open(self.root / ".lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            # Shared, so that two who look do not take each other for a writer.
            return not _taken(handle, fcntl.LOCK_SH)
        finally:
            os.close(handle)

    def has(self, key: CellKey) -> bool:
        return (self.root / "cells" / key.id / "cell.json").is_file()

    def cell(self, key: CellKey) -> Cell:
        return Cell(self.root / "cells" / key.id)

    def cells(self) -> Iterator[Cell]:
        """All stored cells, by name."""
        for folder in sorted((self.root / "cells").glob("[!.]*")):
            yield Cell(folder)

    def write(self, key: CellKey, record: Mapping[str, Any], tables: Mapping[str, Table]) -> Cell:
        """Store a cell whole. Raises `StoreError` (nothing is left behind) when it cannot be written."""
        final = self.root / "cells" / key.id
        folder = self.root / "cells" / f".writing-{key.id}"
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name, table in tables.items():
                write_table(folder / f"{name}.parquet", table)
            _write_json(folder / "cell.json", {"schema": SCHEMA_VERSION, "key": asdict(key), **record})
            _sync_folder(folder)
            folder.rename(final)
            _sync_folder(final.parent)
        except OSError as error:
            raise _unwritable(final, error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Cell(final)

    def remove(self, key: CellKey) -> None:
        """Take a cell away, whole: a kill meanwhile leaves it, or what the next `lock` sweeps."""
        folder = self.root / "cells" / f".writing-{key.id}"
        try:
            (self.root / "cells" / key.id).rename(folder)
            shutil.rmtree(folder)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def write_document(self, name: str, text: str) -> Path:
        """Write a text file of the results folder (a report, a summary) whole or not at all."""
        path = self.root / name
        try:
            _write_text(path, text)
            _sync_folder(path.parent)
        except OSError as error:
            raise _unwritable(path, error) from error
        return path

    def read_document(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the results folder; None when it is not there."""
        path = self.root / name
        return _read_json(path) if path.exists() else None


def _taken(handle: int, kind: int) -> bool:
    """Whether the lock of this kind could be had at once."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    _write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); delete its folder and run again") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path}: not a JSON object; delete its folder and run again")
    return value


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path}: cannot be written ({error.strerror or error}); free disk space or give another --out, "
                      "then run again: finished cells are kept")
