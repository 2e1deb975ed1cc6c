"""A run's line in a listing, kept beside the run, so that a store of many cells need not be read again to be listed.

The line is taken only where experiment.json, cells/ and summary.json are the very files and folder that it was made of:
by inode, size, and the times of their last change, of which the kernel alone sets one (ctime). A cell that comes or
goes changes the folder's. Where anything else is the case, the run is read; the kept line is a copy and never a source.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import quantcheck
from quantcheck.errors import StoreError
from quantcheck.report.runs import SETTLED_S, WATCHED
from quantcheck.store.sealed import opened, sealed

__all__ = ["LISTED", "kept_or_made"]

LISTED = ".listing.json"
MOST_BYTES = 1_000_000

Line = dict[str, Any]
Stamp = list[list[int] | None]


def kept_or_made(root: Path, make: Callable[[], Line | None]) -> Line | None:
    """What `make` says of the run at `root`, or what it said of the same files before.

    What it says is kept where the files had come to rest before it looked and are the same afterwards. None is not
    kept. A folder that cannot be written is read each time.
    """
    stamp = _stamp(root)
    kept = _kept(root / LISTED, stamp)
    if kept is not None:
        return kept
    line = make()
    newest = max((ns for one in stamp if one for ns in one[2:]), default=0)
    # Within one tick of the file system's clock a second change would leave the same times.
    if line is not None and time.time() - newest / 1e9 > SETTLED_S and _stamp(root) == stamp:
        _keep(root / LISTED, stamp, line)
    return line


def _stamp(root: Path) -> Stamp:
    found: Stamp = []
    for name in WATCHED:
        try:
            about = os.stat(root / name)  # noqa: PTH116 (twice as fast as Path.stat for thousands of runs)
            found.append([about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns])
        except OSError:
            found.append(None)
    return found


def _kept(path: Path, stamp: Stamp) -> Line | None:
    try:
        data = path.read_bytes()
        document = opened(json.loads(data), path, "") if len(data) < MOST_BYTES else {}
    except (OSError, ValueError, RecursionError, AttributeError, TypeError, StoreError):
        return None
    line = document.get("line")
    same = document.get("stamp") == stamp and document.get("quantcheck") == quantcheck.__version__
    return line if same and isinstance(line, dict) else None


def _keep(path: Path, stamp: Stamp, line: Line) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # not one that a run which begins now sweeps away
    with suppress(OSError):
        try:
            part.write_text(json.dumps(sealed({"quantcheck": quantcheck.__version__, "stamp": stamp, "line": line})),
                            encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
