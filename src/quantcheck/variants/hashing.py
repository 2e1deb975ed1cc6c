"""SHA-256 of files, remembered for large ones.

Hashing a 14 GB model takes half a minute, and every resumed run needs it. The memory is a JSON file in the cache
folder; an entry holds only while path, size, inode and modification time are the same.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from quantcheck.errors import ModelError

__all__ = ["Hashes", "file_sha256"]

_REMEMBERED_BYTES = 256 << 20


def file_sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal; ModelError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error


class Hashes:
    """Hashes of source files, large ones remembered in `memory` (a JSON file that may be lost without harm)."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory

    def of(self, path: Path) -> str:
        """The file's SHA-256; ModelError when it cannot be read."""
        try:
            found = path.stat()
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}") from error
        if found.st_size < _REMEMBERED_BYTES:
            return file_sha256(path)
        key = str(path.resolve())
        state = [found.st_size, found.st_ino, found.st_mtime_ns]
        known = self._read()
        entry = known.get(key)
        if isinstance(entry, dict) and entry.get("state") == state:
            return str(entry["sha256"])
        digest = file_sha256(path)
        known[key] = {"state": state, "sha256": digest}
        self._write(known)
        return digest

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._memory.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, known: dict[str, Any]) -> None:
        temporary = self._memory.with_name(f".{self._memory.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")
            temporary.replace(self._memory)
        except OSError:
            temporary.unlink(missing_ok=True)  # a memory that cannot be kept only costs time
