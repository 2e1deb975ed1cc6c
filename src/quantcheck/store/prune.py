"""What of a results folder may go, how large it is, and its removal, under the lock."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from quantcheck.errors import StoreError
from quantcheck.store.cells import Store

__all__ = ["leftovers", "remove", "size", "whole_run"]

OURS = ("cells", "logs", "work", "damaged", "tables", "summary.json", "comparison.md", "report.html",
        "comparison.json", "judge.json", ".listing.json", "experiment.json")


def leftovers(store: Store) -> list[Path]:
    """Damaged cells, what is made again when needed, and the cells that the last run neither planned nor reported."""
    document = store.read_document("experiment.json") or {}
    found = [path for path in (store.root / "work", store.root / "damaged") if path.is_dir()]
    lists = [document[key] for key in ("planned", "cells") if key in document]
    if lists:  # without them nothing says which cells are of no use
        kept = {name for names in lists for name in names}
        found += [cell.folder for cell in store.cells() if cell.folder.name not in kept]
    return found


def whole_run(store: Store) -> list[Path]:
    """All that quantcheck wrote into the folder; experiment.json, which makes it a run, is the last."""
    return [store.root / name for name in OURS if (store.root / name).exists()]


def size(paths: Iterable[Path]) -> int:
    """Bytes in the files at and below `paths`; links count as nothing."""
    files = (file for path in paths for file in ([path] if path.is_file() else path.rglob("*")))
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def remove(store: Store, which: Callable[[Store], list[Path]]) -> int:
    """Remove what `which` names, the folder too where nothing is left in it; returns how many bytes that were.

    Raises `StoreError` where a run goes on in it, and where something cannot be removed.
    """
    store.lock()
    try:
        paths = which(store)  # only now is it sure that no run adds to them
        found = size(paths)
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=False)
            else:
                path.unlink(missing_ok=True)
        if not (store.root / "experiment.json").exists():
            for name in ("cells", "logs", "work"):  # as the lock made them
                if (store.root / name).is_dir() and not any((store.root / name).iterdir()):
                    (store.root / name).rmdir()
            (store.root / ".lock").unlink(missing_ok=True)
            if not any(store.root.iterdir()):
                store.root.rmdir()
        return found
    except OSError as error:
        raise StoreError(f"{store.root}: cannot be removed whole ({error.strerror}); mend that and prune again"
                         ) from error
    finally:
        store.unlock()
