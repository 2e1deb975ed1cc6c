"""A copy of a results folder on shared storage: finished cells and documents, by what they hold.

A run always writes to its own disk. `push` copies what is finished and what the storage does not have yet, and writes
the manifest last: one that is broken off leaves objects that nobody names, and the next goes on from there. `pull`
checks every object against its name, and every cell against its own checksums, before it becomes a part of the folder.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quantcheck.errors import StoreError
from quantcheck.store.cells import Cell, CellKey, Store
from quantcheck.store.objects import Objects
from quantcheck.store.sealed import file_digest, opened, sealed

__all__ = ["Copied", "pull", "push"]

MANIFEST = "run.json"
DOCUMENTS = ("experiment.json", "summary.json", "comparison.md", "report.html", "comparison.json", "judge.json")
_RUN = "experiment.json"

_NAME = re.compile(r"[A-Za-z0-9_-]+\.[a-z]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Copied:
    """How many cells the copy holds now, and how many of them are new."""

    cells: int
    new: int


def push(store: Store, url: str) -> Copied:
    """Copy the run in `store` to `url`, beside what is there of the same run from elsewhere.

    Works while the run goes on: what is finished then is copied. Raises `StoreError` when the folder holds no run, a
    cell is damaged, `url` holds another run or another cell under the same name, or the storage fails.
    """
    objects = Objects(url)
    document = _document(store)
    there = _manifest(objects)
    told: dict[str, Any] = {"run": _identity(document), "cells": {}, "documents": {}}
    if there is not None:
        _refuse_another(objects.url, there, told["run"])
        told["cells"] = dict(there["cells"])
    new = 0
    for cell in store.cells():
        if not (cell.folder / "cell.json").is_file():
            continue
        cell.verify()
        files = {path.name: objects.put(path) for path in sorted(cell.folder.iterdir()) if path.is_file()}
        known = told["cells"].get(cell.folder.name)
        if known is None:
            new += 1
        elif known["files"] != files:
            raise StoreError(f"{objects.url}: holds another {cell.folder.name}, measured elsewhere; push to another "
                             "place, or delete the one that does not count")
        told["cells"][cell.folder.name] = {"key": asdict(cell.key), "files": files}
    told["documents"] = {name: objects.put(store.root / name) for name in DOCUMENTS if (store.root / name).is_file()}
    with tempfile.TemporaryDirectory(prefix="quantcheck-") as folder:
        path = Path(folder) / MANIFEST
        path.write_text(json.dumps(sealed(told), indent=1) + "\n", encoding="utf-8")
        objects.write(MANIFEST, path)
    return Copied(len(told["cells"]), new)


def pull(url: str, store: Store) -> Copied:
    """Bring the run at `url` into the folder of `store`, which is new or holds the same run.

    Cells that are there already stay. Documents come where the folder has none: a report of fewer cells than there are
    now is made again by `quantcheck report`. Raises `StoreError` as `push` does, and where an object is damaged.
    """
    objects = Objects(url)
    there = _manifest(objects)
    if there is None:
        raise StoreError(f"{objects.url}: holds no run; give the URL that `quantcheck runs push` was given")
    fresh = not (store.root / _RUN).exists()
    if not fresh:
        _refuse_another(objects.url, there, _identity(_document(store)))
    store.lock()
    try:
        new = sum(_adopted(objects, store, name, cell) for name, cell in there["cells"].items())
        # experiment.json makes a folder a run: the last of all.
        for name in sorted(there["documents"], key=lambda name: name == _RUN):
            if name in DOCUMENTS and not (store.root / name).exists():
                objects.get(there["documents"][name], store.root / name)
    finally:
        store.unlock()
    return Copied(len(there["cells"]), new)


def _adopted(objects: Objects, store: Store, name: str, cell: Mapping[str, Any]) -> bool:
    key = CellKey(**cell["key"])
    if store.has(key):
        held = Cell(store.root / "cells" / name)
        if file_digest(held.folder / "cell.json") != cell["files"].get("cell.json"):
            raise StoreError(f"{held.folder}: is another cell than the one at {objects.url}; pull into another folder")
        return False
    with tempfile.TemporaryDirectory(prefix="quantcheck-", dir=store.work) as folder:
        files = {}
        for file, digest in cell["files"].items():
            files[file] = objects.get(digest, Path(folder) / file).read_bytes()
        store.adopt(key, files)
    return True


def _document(store: Store) -> dict[str, Any]:
    document = store.read_document(_RUN)
    if document is None:
        raise StoreError(f"{store.root}: holds no run (it has no {_RUN}); give a folder that `quantcheck run` wrote")
    return document


def _identity(document: Mapping[str, Any]) -> dict[str, Any]:
    """What must be alike for two folders to be parts of one run: cells of other machines are never mixed."""
    return {"hardware_id": document.get("hardware_id"), "imported": "imported" in document,
            "name": (document.get("experiment") or {}).get("name")}


def _refuse_another(url: str, there: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    unlike = [key for key in run if run[key] != there["run"].get(key)]
    if unlike:
        raise StoreError(f"{url}: holds another run (its {', '.join(unlike)} differs); give another URL or folder")


def _manifest(objects: Objects) -> dict[str, Any] | None:
    data = objects.read(MANIFEST)
    if data is None:
        return None
    where = Path(MANIFEST)
    try:
        told = opened(json.loads(data), where, "push again")
        _check(told)
    except StoreError as error:
        raise StoreError(f"{objects.url}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{objects.url}: {MANIFEST} is damaged; delete it there and push again") from error
    return told


def _check(told: Mapping[str, Any]) -> None:
    """Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError` for what no `push` wrote: names become paths."""
    if not isinstance(told["run"], dict):
        raise TypeError(MANIFEST)
    names = dict(told["documents"])
    for name, cell in told["cells"].items():
        if CellKey(**cell["key"]).id != name:
            raise ValueError(name)
        names |= cell["files"]
    if not all(_NAME.fullmatch(name) and _DIGEST.fullmatch(digest) for name, digest in names.items()):
        raise ValueError(MANIFEST)
