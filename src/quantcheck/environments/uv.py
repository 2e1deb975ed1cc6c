"""Finding uv, and handing over to it what pip is configured with."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from quantcheck.errors import EngineUnavailable

__all__ = ["find_uv", "uv_environment"]


def find_uv() -> str:
    """The path of uv: that of the `uv` package, else on the PATH; else EngineUnavailable."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise EngineUnavailable("uv, which makes environments, is not there; pip install uv")
    return found


def uv_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """`environ` (default: the process's) with pip's package sources added, where the user gave uv none.

    pip takes the best version over all its sources, uv the first source that knows the name: so that an
    installation finds what pip finds, uv is told to do as pip does when pip has further indexes.
    """
    found = dict(os.environ if environ is None else environ)
    pip = _pip_configuration(found)
    if "index-url" in pip and not {"UV_INDEX_URL", "UV_DEFAULT_INDEX"} & set(found):
        found["UV_DEFAULT_INDEX"] = pip["index-url"]
    if "extra-index-url" in pip and not {"UV_EXTRA_INDEX_URL", "UV_INDEX"} & set(found):
        found["UV_EXTRA_INDEX_URL"] = " ".join(pip["extra-index-url"].split())
        found.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    if "find-links" in pip and "UV_FIND_LINKS" not in found:
        found["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        found.setdefault("UV_NO_INDEX", "1")
    if "trusted-host" in pip:
        found.setdefault("UV_INSECURE_HOST", pip["trusted-host"])
    if "cert" in pip and "SSL_CERT_FILE" not in found:
        found["SSL_CERT_FILE"] = pip["cert"]
    # The Python that we run on may be in no folder that uv searches.
    found["PATH"] = os.pathsep.join([found.get("PATH", os.defpath), str(Path(sys.executable).resolve().parent)])
    return found


def _pip_configuration(environ: Mapping[str, str]) -> dict[str, str]:
    """Key to value of `pip config list`; a variable beats a section, `install` beats `global`. Empty without pip."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    try:
        done = subprocess.run(command, env=dict(environ), capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    rank = {"global": 0, "install": 1, ":env:": 2}
    best: dict[str, tuple[int, str]] = {}
    for line in done.stdout.splitlines():
        name, _, quoted = line.partition("=")
        section, _, key = name.rpartition(".")
        if section not in rank:
            continue
        try:
            value = " ".join(part.replace("\\n", " ") for part in shlex.split(quoted))
        except ValueError:
            continue
        if key not in best or rank[section] >= best[key][0]:
            best[key] = (rank[section], value)
    return {key: value.strip() for key, (_, value) in best.items() if value.strip()}
