"""Where a model comes from: what the user named, found on disk, with the hash of what matters in it."""

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from quantcheck import reference
from quantcheck.errors import ModelError, SpecError
from quantcheck.variants.hashing import Hashes
from quantcheck.variants.weights import weight_files

__all__ = ["Source", "check_gguf", "check_model", "find_config", "find_gguf", "find_model"]

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
)
# What a conversion reads; other files of a repository are not fetched.
_FETCHED = ["config.json", "*.safetensors", "model.safetensors.index.json", *_TOKENIZER_FILES]


@dataclass(frozen=True)
class Source:
    """A model on disk: a Hugging Face folder or one GGUF file."""

    kind: Literal["huggingface", "gguf"]
    name: str  # as the user named it
    path: Path
    sha256: str

    @property
    def tokenizer(self) -> Path | None:
        """tokenizer.json of the folder, or beside the GGUF file, if there is one."""
        beside = (self.path if self.kind == "huggingface" else self.path.parent) / "tokenizer.json"
        return beside if beside.is_file() else None


def find_model(name: str, base: Path, hashes: Hashes) -> Source:
    """Find `reference`, a local folder or GGUF file (relative to `base`), or a hub repository, which is fetched.

    Raises SpecError when there is no such thing, ModelError when its files are incomplete or cannot be fetched.
    """
    if name == "reference":
        return _folder(name, reference.model_dir(), hashes)
    if name.startswith("hub:"):
        repository, file = _hub_parts(name)
        if file is not None:
            return _gguf(name, _fetch_file(name, repository, file), hashes)
        return _folder(name, _fetch(name, repository), hashes)
    path = base / Path(name).expanduser()
    if path.is_dir():
        return _folder(name, path, hashes)
    if path.is_file() or path.suffix == ".gguf":
        return find_gguf(name, base, hashes)
    if _is_hub_name(name, path):
        return _folder(name, _fetch(name, name), hashes)
    raise _not_there(name)


def check_model(name: str, base: Path) -> None:
    """Raise the SpecError that `find_model` would raise, without reading or fetching anything."""
    path = base / Path(name).expanduser()
    if name.startswith("hub:"):
        _hub_parts(name)
    elif path.suffix == ".gguf":
        check_gguf(name, base)
    elif name != "reference" and not path.exists() and not _is_hub_name(name, path):
        raise _not_there(name)


def check_gguf(name: str, base: Path) -> None:
    """Raise the SpecError that `find_gguf` would raise, without reading or fetching anything."""
    path = base / Path(name).expanduser()
    if name.startswith("hub:"):
        if _hub_parts(name)[1] is None:
            raise SpecError(f"{name!r} names no file: write hub:OWNER/NAME/FILE.gguf")
    elif not path.is_file():
        raise SpecError(f"{name!r} is not there ({path}): give a GGUF file")


def find_config(name: str, base: Path) -> Path:
    """`config.json` of `reference`, of a local folder or of a hub repository, of which nothing else is fetched.

    Errors as `find_model`.
    """
    path = reference.model_dir() if name == "reference" else base / Path(name).expanduser()
    if path.is_dir():
        return path / "config.json"
    repository = _hub_parts(name)[0] if name.startswith("hub:") else name
    if _is_hub_name(repository, path):
        return _fetch_file(name, repository, "config.json")
    raise SpecError(f"model {name!r} is not there: name a Hugging Face folder, hub:REPOSITORY or a built-in shape, "
                    "such as shape:mistral-7b")


def find_gguf(name: str, base: Path, hashes: Hashes) -> Source:
    """Find one GGUF file: a path relative to `base`, or hub:REPOSITORY/FILE.gguf. Errors as `find_model`."""
    check_gguf(name, base)
    if name.startswith("hub:"):
        repository, file = _hub_parts(name)
        assert file is not None
        return _gguf(name, _fetch_file(name, repository, file), hashes)
    return _gguf(name, base / Path(name).expanduser(), hashes)


def _is_hub_name(name: str, path: Path) -> bool:
    """A plain hub name. `models/llama` where `models` is a folder is a path with a slip in it, not a repository."""
    return _HUB_NAME.fullmatch(name) is not None and not path.parent.exists()


def _not_there(name: str) -> SpecError:
    return SpecError(
        f"model {name!r} is not there: name `reference`, a Hugging Face folder, a GGUF file or hub:REPOSITORY")


def _gguf(name: str, path: Path, hashes: Hashes) -> Source:
    return Source("gguf", name, path.absolute(), hashes.of(path))


def _folder(name: str, path: Path, hashes: Hashes) -> Source:
    if not (path / "config.json").is_file():
        raise ModelError(f"{path} is not a Hugging Face model folder: it holds no config.json")
    files = [path / "config.json", *(path / n for n in _TOKENIZER_FILES), *weight_files(path)]
    total = hashlib.sha256()
    for file in files:
        if file.is_file():
            total.update(f"{file.name} {hashes.of(file)}\n".encode())
    return Source("huggingface", name, path.absolute(), total.hexdigest())


def _hub_parts(name: str) -> tuple[str, str | None]:
    parts = name.removeprefix("hub:").split("/")
    repository, file = "/".join(parts[:2]), "/".join(parts[2:]) or None
    if not _HUB_NAME.fullmatch(repository) or not all(parts):
        raise SpecError(f"{name!r} is no hub name: write hub:OWNER/NAME or hub:OWNER/NAME/FILE.gguf")
    if file is not None and not file.endswith(".gguf"):
        raise SpecError(f"{name!r} names a file that is no GGUF: write hub:OWNER/NAME/FILE.gguf")
    return repository, file


def _fetch(name: str, repository: str) -> Path:
    def get() -> Any:
        from huggingface_hub import snapshot_download

        return snapshot_download(repository, allow_patterns=_FETCHED)

    return _from_hub(name, get)


def _fetch_file(name: str, repository: str, file: str) -> Path:
    def get() -> Any:
        from huggingface_hub import hf_hub_download

        return hf_hub_download(repository, file)

    return _from_hub(name, get)


def _from_hub(name: str, get: Callable[[], Any]) -> Path:
    try:
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
        from huggingface_hub.utils import logging as hub_log
    except ImportError as error:
        raise SpecError(f"{name!r} is on a hub: pip install huggingface_hub, or name local files") from error
    verbosity = hub_log.get_verbosity()
    hub_log.set_verbosity(logging.ERROR)  # its warnings of each retry would stand between the lines of the progress
    try:
        return Path(get())
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name!r} is not in the local hub cache and the hub cannot be reached: fetch it where there is a network"
        ) from error
    except (OSError, ValueError, EntryNotFoundError, HfHubHTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the hub does not give {name!r}: {reason}") from error
    finally:
        hub_log.set_verbosity(verbosity)
