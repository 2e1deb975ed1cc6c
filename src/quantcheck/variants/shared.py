"""Artifacts on storage that machines share: made once by anybody, found by everybody by what went into them.

    QUANTCHECK_ARTIFACTS=s3://bucket/prefix

names the storage: a folder, NFS, S3 or what else fsspec knows. Beside the objects lies one document for each artifact,
`artifacts-NAME.json`, whose NAME holds the recipe's hash; it is written last, so an artifact that is named is whole.
The cache stays what is read: an artifact is brought into it first, each file checked against its hash.
"""

import json
import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from quantcheck.errors import StoreError

if TYPE_CHECKING:
    from quantcheck.store.objects import Objects

__all__ = ["VARIABLE", "bring", "share"]

VARIABLE = "QUANTCHECK_ARTIFACTS"


def bring(name: str, folder: Path) -> bool:
    """Bring the artifact `name` into the empty `folder`; False where no storage is named or it is not there.

    Raises `StoreError` when the storage cannot be read, and `DamagedError` for a file that is not what was put there.
    """
    objects = _storage()
    if objects is None:
        return False
    data = objects.read(_document(name))
    if data is None:
        return False
    for file, digest in _files(objects, name, data).items():
        objects.get(digest, folder / file)
    return True


def share(name: str, folder: Path) -> None:
    """Put the files of `folder` there as the artifact `name`. What links to files elsewhere is not shared.

    Raises `StoreError` when the storage cannot be written.
    """
    objects = _storage()
    if objects is None or any(path.is_symlink() for path in folder.rglob("*")):
        return
    from quantcheck.store.sealed import sealed

    files = {path.relative_to(folder).as_posix(): objects.put(path)
             for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")}
    with tempfile.TemporaryDirectory(prefix="quantcheck-") as scratch:
        document = Path(scratch) / "artifact.json"
        document.write_text(json.dumps(sealed({"files": files}), indent=1) + "\n", encoding="utf-8")
        objects.write(_document(name), document)


def _storage() -> "Objects | None":
    url = os.environ.get(VARIABLE)
    if not url:
        return None
    from quantcheck.store.objects import Objects  # here: who names no storage does not wait for what reads tables

    return Objects(url)


def _document(name: str) -> str:
    return f"artifacts-{name}.json"


def _files(objects: "Objects", name: str, data: bytes) -> dict[str, str]:
    """Of each file in the artifact, relative to its folder and never outside it: its digest."""
    from quantcheck.store.sealed import opened

    where = f"{objects.url}/{_document(name)}"
    try:
        told: Any = opened(json.loads(data), Path(_document(name)), "delete it there")
        files = dict(told["files"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{where}: is damaged ({error}); delete it there, and the artifact is made again") from error
    for file in files:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise StoreError(f"{where}: names the file {file!r}, which is outside the artifact; delete it there")
    return files
