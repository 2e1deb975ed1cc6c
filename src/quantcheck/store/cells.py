"""The results folder of one experiment.

    results/NAME/
        experiment.json          the experiment as it was read, its hash, the machine
        cells/ID/cell.json       one cell: its key, what it was measured with, its result
        cells/ID/*.parquet       its raw samples
        logs/                    the engines' own words
        work/                    what may be deleted (made again when needed)

A cell is written into a folder beside its place and renamed into it after everything is on the disk: after a
power cut or `kill -9` it is there whole, or not at all. What a disk does to it later is found by checksums
(`store/sealed.py`): `lock` sets such cells aside, into damaged/, and they are measured again.
"""

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from quantcheck.errors import StoreError
from quantcheck.store.sealed import SCHEMA_VERSION, DamagedError, file_digest, opened, sealed
from quantcheck.store.tables import Table, read_table, write_table

__all__ = ["Cell", "CellKey", "Store"]

EXPERIMENT = "experiment.json"
AGAIN = "delete its folder and run again"
MOVE_AWAY = "move this file away and run again: the cells are kept"
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
        path = self.folder / "cell.json"
        return opened(_read_json(path, AGAIN), path, AGAIN)

    @property
    def key(self) -> CellKey:
        return CellKey(**self.record["key"])

    def table(self, name: str) -> dict[str, Any]:
        """The raw samples called `name`, as column -> array."""
        return read_table(self.folder / f"{name}.parquet")

    def verify(self) -> None:
        """Raise `DamagedError` where the record or a table is not what was written."""
        key = self.record.get("key")
        if not isinstance(key, dict) or CellKey(**key).id != self.folder.name:
            raise DamagedError(f"{self.folder}: damaged (it holds another cell); {AGAIN}")
        self.verify_files()

    def verify_files(self) -> None:
        """The same, wherever the folder lies and whatever it is called."""
        digests = self.record.get("tables")
        if digests is None:
            for path in sorted(self.folder.glob("*.parquet")):
                self.table(path.stem)
            return
        for name, digest in digests.items():
            path = self.folder / f"{name}.parquet"
            try:
                holds = file_digest(path) == digest
            except OSError as error:
                raise DamagedError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from error
            if not holds:
                raise DamagedError(f"{path}: damaged (its checksum does not hold); {AGAIN}")


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

    def lock(self) -> list[str]:
        """Make the folders and claim them for this process; returns what is wrong with the cells that it set aside,
        and how many there are whose damage may not be seen.

        Raises `StoreError` when another process has them, when experiment.json is damaged, or when a newer version
        wrote in here; nothing is changed then.
        """
        self.read_document(EXPERIMENT)
        older = self._older()
        give_up = time.monotonic() + LOCK_PATIENCE_S
        try:
            while not self._claimed():
                if time.monotonic() > give_up:
                    raise StoreError(f"{self.root}: another quantcheck is writing here; wait for it, or give another "
                                     "--out")
                time.sleep(0.005)
            self._make_folders()  # who had it before may have removed some meanwhile
            self._sweep()
        except OSError as error:
            raise _unwritable(self.root, error) from error
        told = [f"{older} cells are of schema 1, which has no checksums: they are read as they are, and what a disk "
                "did to them may not be seen"] if older else []
        return self._set_damaged_aside() + told

    def _make_folders(self) -> None:
        for folder in (self.root / "cells", self.logs, self.work):
            folder.mkdir(parents=True, exist_ok=True)

    def _claimed(self) -> bool:
        """Whether the lock could be had now."""
        self._make_folders()
        path = self.root / ".lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        # The file may have been removed, with the whole run, since it was opened: that lock keeps nobody out.
        if _taken(handle, fcntl.LOCK_EX) and path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            self._lock = handle
            return True
        os.close(handle)
        return False

    def _sweep(self) -> None:
        """What a killed run left half done is removed, and what it had put by is put back."""
        for leftover in (self.root / "cells").glob(".writing-*"):
            shutil.rmtree(leftover)
        for leftover in self.root.glob(".*.part"):
            leftover.unlink()
        for leftover in self.work.glob("quantcheck-*"):  # a load's or a calibration's own folder
            shutil.rmtree(leftover, ignore_errors=True)
        self._put_back()

    def damaged(self) -> dict[str, str]:
        """What is wrong with every cell that is not what was written, by its folder's name.

        Raises `StoreError` where a newer version wrote a cell.
        """
        found = {}
        for cell in self.cells():
            try:
                cell.verify()
            except DamagedError as error:
                found[cell.folder.name] = str(error)
        return found

    def _older(self) -> int:
        """How many cells an older version wrote; raises `StoreError` where a newer one did."""
        older = 0
        for cell in self.cells():
            with suppress(DamagedError):
                older += cell.record.get("schema", 1) < SCHEMA_VERSION
        return older

    def _set_damaged_aside(self) -> list[str]:
        found = self.damaged()
        for name in found:
            try:
                (self.root / "damaged").mkdir(exist_ok=True)
                (self.root / "cells" / name).rename(self.root / "damaged" / f"{name}.{time.time_ns()}")
            except OSError as error:
                raise _unwritable(self.root / "damaged" / name, error) from error
        return [reason.replace(AGAIN, "moved to damaged/, to be measured again") for reason in found.values()]

    def unlock(self) -> None:
        """Let others write here; cells that were put by and not measured again are put back."""
        if self._lock is not None:
            with suppress(OSError):  # the next `lock` does it, then
                self._put_back()
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

    def has(self, key: CellKey | str) -> bool:
        """Whether the cell of a key, or of a key's id, is stored."""
        name = key if isinstance(key, str) else key.id
        return (self.root / "cells" / name / "cell.json").is_file()

    def cell(self, key: CellKey) -> Cell:
        return Cell(self.root / "cells" / key.id)

    def cells(self) -> Iterator[Cell]:
        """All stored cells, by name."""
        for folder in sorted((self.root / "cells").glob("[!.]*")):
            yield Cell(folder)

    def write(self, key: CellKey, record: Mapping[str, Any], tables: Mapping[str, Table]) -> Cell:
        """Store a cell whole. Raises `StoreError` (nothing is left behind) when it cannot be written."""
        with self._filling(key) as folder:
            for name, table in tables.items():
                write_table(folder / f"{name}.parquet", table)
            digests = {name: file_digest(folder / f"{name}.parquet") for name in tables}
            _write_json(folder / "cell.json", sealed({"key": asdict(key), **record, "tables": digests}))
        return self.cell(key)

    def adopt(self, key: CellKey, files: Mapping[str, bytes]) -> Cell:
        """Store a cell that another store wrote, by its files' names and bytes, whole.

        Raises `StoreError` when its record is not that of `key`, a checksum does not hold, or it cannot be written;
        nothing is left behind then.
        """
        with self._filling(key) as folder:
            for name, content in files.items():
                with (folder / Path(name).name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            came = Cell(folder)
            if came.key != key:
                raise StoreError(f"{self.cell(key).folder}: what came for it is another cell; nothing was stored")
            try:
                came.verify_files()
            except DamagedError as error:
                raise StoreError(f"{self.cell(key).folder}: what came for it is not what was sent "
                                 f"({Path(str(error).partition(':')[0]).name}); nothing was stored") from error
        return self.cell(key)

    @contextmanager
    def _filling(self, key: CellKey) -> Iterator[Path]:
        """The folder of a new cell, to be filled within; it becomes the cell at the end, or is gone."""
        final = self.root / "cells" / key.id
        folder = self.root / "cells" / f".writing-{key.id}"
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            yield folder
            _sync_folder(folder)
            folder.rename(final)
            _sync_folder(final.parent)
            shutil.rmtree(self._put_by(key.id), ignore_errors=True)
        except OSError as error:
            raise _unwritable(final, error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put_by(self, key: CellKey) -> None:
        """Take a cell out, to be measured again. Unless a new one takes its place, `unlock` or the next `lock` puts it
        back: what was measured is never lost to a stop.
        """
        folder = self._put_by(key.id)
        try:
            (self.root / "cells" / key.id).rename(folder)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def _put_by(self, name: str) -> Path:
        return self.root / "cells" / f".again-{name}"

    def _put_back(self) -> None:
        for folder in (self.root / "cells").glob(".again-*"):
            final = folder.with_name(folder.name.removeprefix(".again-"))
            if final.exists():
                shutil.rmtree(folder)
            else:
                folder.rename(final)

    def write_document(self, name: str, text: str) -> Path:
        """Write a text file of the results folder (a report, a summary) whole or not at all.

        experiment.json gets its checksum here.
        """
        path = self.root / name
        if name == EXPERIMENT:
            text = json.dumps(sealed(json.loads(text)), indent=1) + "\n"
        try:
            _write_text(path, text)
            _sync_folder(path.parent)
        except OSError as error:
            raise _unwritable(path, error) from error
        return path

    def read_document(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the results folder; None when it is not there. `DamagedError` where it is not as written."""
        path = self.root / name
        if not os.path.exists(path):  # noqa: PTH110 (Path.exists raises where the folder cannot be searched)
            return None
        document = _read_json(path, MOVE_AWAY)
        return opened(document, path, MOVE_AWAY) if name == EXPERIMENT else document


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


def _read_json(path: Path, advice: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: cannot be read ({error}); {advice}") from error
    if not isinstance(value, dict):
        raise DamagedError(f"{path}: not a JSON object; {advice}")
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
