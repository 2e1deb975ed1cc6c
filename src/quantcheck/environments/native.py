"""llama.cpp compiled for this processor: the source that the wheel was made of, with the instructions that are here.

The wheel's machine code is for AVX2, whatever the processor has beyond; what people build for themselves is faster.
Server and library are of the wheel's version, so that struct layouts and options are those that quantcheck knows.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from quantcheck.environments.installed import RECORD, python_of
from quantcheck.errors import EngineUnavailable
from quantcheck.telemetry.environment import cpu_flags, usable_threads

__all__ = ["NAME", "Native", "Step", "compiled_for", "native", "require_compiler", "steps"]

NAME = "llama.cpp"
FOLDER = "native"
COMPILER_BYTES = 2 << 30
"""Of memory for one: a template's instances take a gigabyte and more."""
REMAKE = f"quantcheck engines remove {NAME}; quantcheck engines install {NAME}"

# No BLAS, no GPU: what is compared with the wheel is the same code. Without OpenSSL the server fetches no models.
_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release", "BUILD_SHARED_LIBS": "ON", "GGML_NATIVE": "ON", "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF", "LLAMA_BUILD_UI": "OFF", "LLAMA_USE_PREBUILT_UI": "OFF",
    "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON", "CMAKE_INSTALL_RPATH": "$ORIGIN",
}


@dataclass(frozen=True, slots=True)
class Native:
    """The files of a compiled llama.cpp."""

    server: Path
    library: Path


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the making. `doing`: in words."""

    doing: str
    command: list[str]


def require_compiler(environ: Mapping[str, str]) -> None:
    """Raises EngineUnavailable, with the remedy, when there is nothing that compiles C++."""
    names = [environ["CXX"].split()[0]] if environ.get("CXX") else ["c++", "g++", "clang++"]
    if not any(shutil.which(name, path=environ.get("PATH")) for name in names):
        raise EngineUnavailable(f"{NAME} cannot be compiled: there is no C++ compiler ({', '.join(names)}); install "
                                "one (Debian: apt-get install g++)")


def steps(environment: Path, source: str) -> Iterator[Step]:
    """How `source`, a pip requirement of a source package with its hash, becomes `environment`/native."""
    python, cmake = str(environment / "bin" / "python"), str(environment / "bin" / "cmake")
    package = source.partition("==")[0]
    fetched, build = environment / "source", environment / "build"
    wanted = environment / "source.txt"
    wanted.write_text(source + "\n")
    yield Step("fetching its source", [
        python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", package,
        "--dest", str(fetched), "--requirement", str(wanted)])
    (archive,) = fetched.iterdir()
    yield Step("unpacking its source", [cmake, "-E", "chdir", str(fetched), cmake, "-E", "tar", "xf", archive.name])
    (unpacked,) = fetched.glob("*/thirdparty/llama.cpp")
    yield Step("configuring", [
        cmake, "-S", str(unpacked), "-B", str(build), "-G", "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={environment / 'bin' / 'ninja'}",
        *(f"-D{key}={value}" for key, value in _OPTIONS.items())])
    yield Step("compiling (minutes)", [
        cmake, "--build", str(build), "--target", "llama-server", "--parallel", str(_compilers())])
    yield Step("keeping what is needed", [cmake, "-E", "rename", str(build / "bin"), str(environment / FOLDER)])
    yield Step("removing the rest", [cmake, "-E", "rm", "-rf", str(build), str(fetched)])


def _compilers() -> int:
    """As many at once as there are processors, or as there is memory for."""
    return max(1, min(usable_threads(), psutil.virtual_memory().available // COMPILER_BYTES))


def compiled_for() -> dict[str, object]:
    """What the record says of the processor."""
    return {"cpu_flags": cpu_flags()}


def native() -> Native:
    """The installed one; EngineUnavailable, with the remedy, when there is none that runs on this processor."""
    environment = python_of(NAME).parents[1]
    record = json.loads((environment / RECORD).read_text())
    missing = sorted(set(record["cpu_flags"]) - set(cpu_flags()))
    if missing:
        raise EngineUnavailable(f"{environment / FOLDER} was compiled for a processor with "
                                f"{', '.join(missing).upper()}, which this one lacks; {REMAKE}")
    found = Native(environment / FOLDER / "llama-server", environment / FOLDER / "libllama.so")
    if not (os.access(found.server, os.X_OK) and found.library.is_file()):
        raise EngineUnavailable(f"{environment / FOLDER} is not whole; {REMAKE}")
    return found
