"""Artifacts: the files of a variant with the recipe that made them, kept in a cache by what went into them.

    CACHE/artifacts/Q4_K_M-3f2a.../model.gguf, recipe.json, tokenizer.json

CACHE is `$QUANTCHECK_CACHE`, or `quantcheck` in the XDG cache folder. The folder's name holds the recipe's hash:
the same source, scheme, calibration tokens and tool versions give the same folder, which is then reused. A folder is
made under another name, synced, and renamed when it is whole. Where shared storage is named (`shared.py`), an artifact
is looked for there before it is made, and put there after it.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quantcheck.errors import QuantcheckError, SpecError
from quantcheck.spec.variant import Variant
from quantcheck.variants import shared
from quantcheck.variants.gguf_file import disk_errors
from quantcheck.variants.hashing import file_sha256

__all__ = ["MODEL", "Artifact", "Cache", "OnFailure", "cache_root", "make_each", "recipe_hash"]

OnFailure = Callable[[str, QuantcheckError], None]
"""Told the variant whose artifact could not be made, and why; what it raises ends the making."""

RECIPE = "recipe.json"
MODEL = "model.gguf"
SCHEMA_VERSION = 1

# Up to this size the hash of a reused file is computed again at each use; above it, the size must do.
_REHASH_BYTES = 256 << 20


@dataclass(frozen=True)
class Artifact:
    """One variant's model, a file or a folder; `recipe` is what `recipe.json` says."""

    name: str
    path: Path
    recipe: Mapping[str, Any]

    @classmethod
    def none(cls, name: str) -> "Artifact":
        """A variant without files, for engines that serve none."""
        return cls(name, Path(os.devnull), {"scheme": "none", "bits_per_weight": 0.0, "bytes": 0, "sha256": ""})

    @property
    def folder(self) -> Path:
        """Holds model.gguf, recipe.json and, if the source had one, tokenizer.json."""
        return self.path.parent

    @property
    def sha256(self) -> str:
        """Of the model file, in hexadecimal."""
        return str(self.recipe["sha256"])

    @property
    def bytes(self) -> int:
        """Size of the model file."""
        return int(self.recipe["bytes"])

    @property
    def bits_per_weight(self) -> float:
        """Bits per value over all tensors, metadata left out."""
        return float(self.recipe["bits_per_weight"])

    @property
    def scheme(self) -> str:
        """E.g. gguf/Q4_K_M."""
        return str(self.recipe["scheme"])

    def named(self, name: str) -> "Artifact":
        """The same files as the variant `name`."""
        return replace(self, name=name)


def make_each(
    variants: Mapping[str, Variant], make: Callable[[str, Variant], Artifact], on_failure: OnFailure | None
) -> dict[str, Artifact]:
    """The artifact of every variant, by name and in order, without those of which `on_failure` was told.

    A `SpecError` is a mistake to mend, and is always raised; without `on_failure` any other error is, too.
    """
    made: dict[str, Artifact] = {}
    for name, variant in variants.items():
        try:
            made[name] = make(name, variant).named(name)
        except SpecError:
            raise
        except QuantcheckError as error:
            if on_failure is None:
                raise
            on_failure(name, error)
    return made


def cache_root() -> Path:
    """Where artifacts are kept: `$QUANTCHECK_CACHE`, or quantcheck in `$XDG_CACHE_HOME` or ~/.cache."""
    own = os.environ.get("QUANTCHECK_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    base = Path(shared) if shared and Path(shared).is_absolute() else Path.home() / ".cache"
    return base / "quantcheck"


def recipe_hash(inputs: Mapping[str, Any]) -> str:
    """SHA-256 over what goes into an artifact, independent of the order of keys."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Cache:
    """The folder of artifacts; StoreError when it cannot be written."""

    def __init__(self, root: Path | None = None) -> None:
        self.folder = (root or cache_root()) / "artifacts"
        with disk_errors(self.folder / MODEL):
            self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, label: str, inputs: Mapping[str, Any]) -> Artifact | None:
        """The artifact made from `inputs`, when it is there and undamaged."""
        key = recipe_hash(inputs)
        return _intact(label, self.folder / f"{label}-{key[:24]}", key, MODEL)

    def get_or_make(
        self, label: str, inputs: Mapping[str, Any], make: Callable[[Path], Mapping[str, Any]], *, model: str = MODEL
    ) -> Artifact:
        """The artifact made from `inputs`, made now when it is missing or damaged.

        `make` writes `model`, a file or a folder (and what goes with it), into the empty folder that it is given and
        returns further facts for the recipe, `bytes` and `sha256` among them where they are not those of the files.
        Two processes that want the same artifact wait for each other. Raises `StoreError` where shared storage is
        named and fails; what was made by then is in the cache.
        """
        key = recipe_hash(inputs)
        folder = self.folder / f"{label}-{key[:24]}"
        with self._locked(folder):
            found = _intact(label, folder, key, model)
            if found is not None:
                return found
            making = folder.with_name(f".{folder.name}.making")  # ours alone, under the lock; a killed run's is swept
            with disk_errors(making / MODEL):
                _sweep(making)
                making.mkdir()
            try:
                if shared.bring(folder.name, making):
                    brought = _intact(label, making, key, model)
                    if brought is not None:
                        self._put(making, folder)
                        return replace(brought, path=folder / model)
                    with disk_errors(making / MODEL):
                        _sweep(making)
                        making.mkdir()
                began = time.monotonic()
                facts = make(making)
                took = {"seconds": round(time.monotonic() - began, 3)}  # what the cost of making it rests on
                recipe = _recipe(key, inputs, {**took, **facts}, making / model)
                with disk_errors(making / RECIPE):
                    _write_synced(making / RECIPE, json.dumps(recipe, indent=2, ensure_ascii=False) + "\n")
                    _sync_folder(making)
                self._put(making, folder)
            finally:
                shutil.rmtree(making, ignore_errors=True)
            shared.share(folder.name, folder)
        return Artifact(label, folder / model, recipe)

    def _put(self, making: Path, folder: Path) -> None:
        """What was made, or brought, becomes the artifact; what is there is damaged, else it would have been taken."""
        with disk_errors(folder / MODEL):
            _sweep(folder)
            making.rename(folder)
            _sync_folder(self.folder)

    def amended(self, artifact: Artifact, facts: Callable[[Path], Mapping[str, Any]], key: str) -> Artifact:
        """`artifact` with `facts` of its file in its recipe, which is written again when `key` is not in it yet."""
        if key in artifact.recipe:
            return artifact
        recipe = {**artifact.recipe, **facts(artifact.path)}
        folder = artifact.folder
        with self._locked(folder), disk_errors(folder / RECIPE):
            part = folder / f".{RECIPE}.part"
            _write_synced(part, json.dumps(recipe, indent=2, ensure_ascii=False) + "\n")
            part.replace(folder / RECIPE)
            _sync_folder(folder)
        return replace(artifact, recipe=recipe)

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        with disk_errors(folder):
            lock = folder.with_name(f".{folder.name}.lock").open("w")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _recipe(key: str, inputs: Mapping[str, Any], facts: Mapping[str, Any], model: Path) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "hash": key,
        **inputs,
        **facts,
        "bytes": facts.get("bytes", _size(model)),
        "disk_bytes": _size(model),
        "sha256": facts.get("sha256") or _sha256(model),
        "disk_sha256": _sha256(model) if model.is_dir() and not model.is_symlink() else None,
    }


def _size(model: Path) -> int:
    """Bytes of the file, or of all files of the folder."""
    return sum(file.stat().st_size for file in model.rglob("*") if file.is_file()) if model.is_dir() else (
        model.stat().st_size)


def _sha256(model: Path) -> str:
    """Of the file, or over names and hashes of all files of the folder."""
    if not model.is_dir():
        return file_sha256(model)
    total = hashlib.sha256()
    for file in sorted(file for file in model.rglob("*") if file.is_file()):
        total.update(f"{file.relative_to(model)} {file_sha256(file)}\n".encode())
    return total.hexdigest()


def _intact(label: str, folder: Path, key: str, name: str) -> Artifact | None:
    model = folder / name
    try:
        recipe = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        size = _size(model)
    except (OSError, ValueError):
        return None
    if not isinstance(recipe, dict) or recipe.get("hash") != key:
        return None
    if recipe.get("disk_bytes", recipe.get("bytes")) != size:
        return None
    known = recipe.get("disk_sha256") or recipe.get("sha256")
    linked = model.is_symlink() and model.is_dir()  # hashed as the source when it was named
    if size <= _REHASH_BYTES and not linked and known != _sha256(model):
        return None
    return Artifact(label, model, recipe)


def _sweep(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
