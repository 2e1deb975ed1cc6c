"""Files on storage that machines share, found by what they hold: a folder, NFS or S3, through fsspec.

An object's name is the SHA-256 of its content, so that none is ever written over, two who write the same one do no
harm, and what comes back is checked against its name. Runs (`mirror.py`) and artifacts are kept so.
"""

import importlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quantcheck.errors import StoreError
from quantcheck.store.sealed import DamagedError, file_digest

__all__ = ["Objects"]

_CHUNK = 1 << 20


class Objects:
    """The objects below `url`: a path, or what fsspec knows (`s3://bucket/prefix`). Nothing is asked of it yet.

    Credentials come from where the storage's own library finds them. Raises `StoreError` when fsspec, or what it needs
    for this kind of storage, is not installed, and for a URL that it does not know.
    """

    def __init__(self, url: str) -> None:
        self.url = _public(url)
        try:
            self._fs, root = importlib.import_module("fsspec.core").url_to_fs(url)
        except ImportError as error:
            raise StoreError(f"{self.url}: {error.name or error} is not installed; pip install 'quantcheck[remote]'"
                             ) from error
        except (ValueError, OSError) as error:
            raise StoreError(f"{self.url}: is no storage that can be reached ({error}); give a folder or a URL such as "
                             "s3://bucket/prefix") from error
        self._root = str(root).rstrip("/")
        self._local = "file" in ([self._fs.protocol] if isinstance(self._fs.protocol, str) else self._fs.protocol)

    def has(self, digest: str) -> bool:
        """Whether the object is there. Raises `StoreError` where the storage does not answer."""
        with self._told("read"):
            return bool(self._fs.exists(self._object(digest)))

    def put(self, path: Path) -> str:
        """Store the file at `path` unless it is there, whole or not at all; returns its digest, SHA-256 in hexadecimal.

        Raises `StoreError` where it cannot be read or written.
        """
        with self._told("written"):
            digest = file_digest(path)
            if not self._fs.exists(self._object(digest)):
                self._write(self._object(digest), path)
        return digest

    def get(self, digest: str, path: Path) -> Path:
        """The object as the file `path`, whole or not at all; raises `DamagedError` where it holds something else,
        `StoreError` where it is not there or cannot be read or written.
        """
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            with self._told("read"):
                path.parent.mkdir(parents=True, exist_ok=True)
                with self._fs.open(self._object(digest), "rb") as source, part.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _CHUNK)
                    sink.flush()
                    os.fsync(sink.fileno())
                if file_digest(part) != digest:
                    raise DamagedError(f"{self.url}: the object {digest} holds something else; delete it there and "
                                       "push again")
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def read(self, name: str) -> bytes | None:
        """A named document beside the objects; None where there is none."""
        with self._told("read"):
            place = f"{self._root}/{name}"
            try:
                return bytes(self._fs.cat_file(place))
            except FileNotFoundError:
                return None

    def write(self, name: str, path: Path) -> None:
        """A named document, in the place of an older one: readers see the one or the other."""
        with self._told("written"):
            self._write(f"{self._root}/{name}", path)

    def _object(self, digest: str) -> str:
        return f"{self._root}/objects/{digest[:2]}/{digest}"

    def _write(self, place: str, path: Path) -> None:
        if not self._local:  # one request, or one upload in parts, that takes effect at its end
            self._fs.put_file(str(path), place)
            return
        final = Path(place)
        final.parent.mkdir(parents=True, exist_ok=True)
        part = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            with path.open("rb") as source, part.open("wb") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
                sink.flush()
                os.fsync(sink.fileno())
            part.replace(final)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Whatever a storage's own library raises, in one line."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # each storage's library has a tree of exceptions of its own
            said = " ".join(str(error).split())[:300] or type(error).__name__
            raise StoreError(f"{self.url}: cannot be {what} ({type(error).__name__}: {_public(said)}); check the "
                             "address, the network and the credentials, then do it again: nothing is half done"
                             ) from error


def _public(url: str) -> str:
    """Without a password: what is before the @ of a URL."""
    try:
        parts: Any = urlsplit(url)
    except ValueError:
        return url
    return url.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1) if "@" in parts.netloc else url
