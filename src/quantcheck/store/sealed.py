"""Checksums of stored files, so that a flipped bit or a cut file is found and never taken for a figure.

A sealed JSON file holds `sha256`, over everything else in it; a cell's record, which is sealed, holds that of each of
its tables. Schema 1 had neither: such files are read as they are, and what their own formats notice is found.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantcheck.errors import StoreError

__all__ = ["SCHEMA_VERSION", "DamagedError", "file_digest", "opened", "sealed"]

SCHEMA_VERSION = 2
SEAL = "sha256"


class DamagedError(StoreError):
    """A stored file is not what was written."""


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as this schema stores it: with its version and its checksum."""
    bare = {key: value for key, value in document.items() if key != SEAL} | {"schema": SCHEMA_VERSION}
    # As it will be read: keys become strings, tuples become lists.
    return {**bare, SEAL: _digest(json.loads(json.dumps(bare)))}


def opened(document: dict[str, Any], path: Path, advice: str) -> dict[str, Any]:
    """What is in a file that may be sealed.

    Raises `DamagedError` where the checksum does not hold, and `StoreError` where a newer version wrote the file.
    """
    bare = {key: value for key, value in document.items() if key != SEAL}
    if SEAL in document and document[SEAL] != _digest(bare):
        raise DamagedError(f"{path}: damaged (its checksum does not hold); {advice}")
    schema = bare.get("schema", 1)
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise StoreError(f"{path}: written with schema {schema}, this version reads up to {SCHEMA_VERSION}; use the "
                         "quantcheck that wrote it; nothing was changed")
    if schema not in (1, SCHEMA_VERSION) or (schema == SCHEMA_VERSION and SEAL not in document):
        raise DamagedError(f"{path}: damaged (schema {schema!r} without a checksum); {advice}")
    return bare


def file_digest(path: Path) -> str:
    """SHA-256 of the file at `path`, in hexadecimal. Raises `OSError` when it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
