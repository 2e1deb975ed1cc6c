import ctypes
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest

from quantcheck.errors import EngineUnavailable
from quantcheck.ggml import library
from quantcheck.ggml.layout import Tensor, drift
from quantcheck.ggml.library import WHEEL_VERSION, Log, check_cpu, find, load, versions

CPUINFO = "processor\t: 0\nflags\t\t: fpu sse2 avx {}\n"


def test_cpu_with_all_features_passes() -> None:
    check_cpu(CPUINFO.format("avx2 fma f16c bmi2"))


def test_cpu_without_avx2_and_bmi2_is_named_in_one_line() -> None:
    with pytest.raises(EngineUnavailable, match="no AVX2, BMI2, which the xllamacpp wheel needs") as caught:
        check_cpu(CPUINFO.format("fma f16c"))
    assert "\n" not in str(caught.value)


def test_cpu_features_are_whole_words() -> None:
    with pytest.raises(EngineUnavailable, match="no FMA,"):
        check_cpu(CPUINFO.format("avx2 fma4 f16c bmi2"))


def test_another_version_names_the_pinned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2026.1.1")
    with pytest.raises(EngineUnavailable, match=rf"2026\.1\.1 is installed.*pip install xllamacpp=={WHEEL_VERSION}"):
        find()


def test_a_missing_wheel_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(EngineUnavailable, match=f"not installed: pip install xllamacpp=={WHEEL_VERSION}"):
        find()


def test_a_wheel_without_its_object_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match="without its shared object"):
        find()


def test_a_missing_openmp_names_the_system_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise OSError("libgomp.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(EngineUnavailable, match=r"libgomp\.so\.1.*apt-get install libgomp1"):
        load.__wrapped__()


class Shifted:
    """The real library, with one function that answers as another version might."""

    def __init__(self, name: str, answer: Callable[..., Any]) -> None:
        self._name, self._answer = name, answer

    def __getattr__(self, name: str) -> Any:
        return self._answer if name == self._name else getattr(load(), name)


def shifted_context() -> Any:
    """Defaults as a reader sees them when one 4-byte field was put in after `n_seq_max`."""
    params = load().llama_context_default_params()
    raw = bytes(params)
    return type(params).from_buffer_copy(raw[:16] + b"\x07\0\0\0" + raw[16:-4])


def shifted_model() -> Any:
    params = load().llama_model_default_params()
    raw = bytes(params)
    return type(params).from_buffer_copy(raw[:-8] + b"\x01" + raw[-8:-1])


@pytest.mark.parametrize(
    ("function", "answer", "found"),
    [
        ("llama_context_default_params", shifted_context, "llama_context_params.n_rs_seq is 7, expected 0"),
        ("llama_model_default_params", shifted_model, "llama_model_params."),
        ("ggml_tensor_overhead", lambda: 376, "ggml_tensor has 344 bytes, expected 336"),
    ],
)
def test_a_moved_field_is_found(function: str, answer: Callable[..., Any], found: str) -> None:
    assert any(line.startswith(found) for line in drift(cast(ctypes.CDLL, Shifted(function, answer))))


def test_the_installed_library_does_not_drift() -> None:
    assert drift(load()) == []
    assert load().ggml_tensor_overhead() == ctypes.sizeof(Tensor) + 32


def test_drift_stops_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "drift", lambda lib: ["llama_context_params.n_ctx is 7, expected 512"])
    with pytest.raises(EngineUnavailable, match=r"n_ctx is 7, expected 512.*pip install"):
        load.__wrapped__()


def test_versions_name_the_build() -> None:
    found = versions()
    assert found["wheel"] == f"xllamacpp=={WHEEL_VERSION}"
    assert "AVX2 = 1" in found["system_info"]


def test_another_library_is_loaded_instead_before_the_wheels() -> None:
    code = """
from pathlib import Path
from quantcheck.errors import EngineUnavailable
from quantcheck.ggml import library
wheel = library.find()
library.use(Path("/nowhere/libllama.so"))
try:
    library.load()
except EngineUnavailable as error:
    print(error)
library.use(wheel)
library.load()
try:
    library.use(Path("/nowhere/libllama.so"))
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    first, second = done.stdout.splitlines()
    assert "/nowhere/libllama.so: cannot open" in first
    assert first.endswith("quantcheck engines remove llama.cpp; quantcheck engines install llama.cpp")
    assert second == "llama.cpp is loaded already"


def test_log_keeps_the_last_lines_and_the_first_error() -> None:
    log = Log(lines=3)
    for level, text in [(2, "one\n"), (2, "two\n"), (4, "first "), (5, "error\n"), (4, "second error\n")]:
        log.write(level, text)
    assert log.tail() == ["two", "first error", "second error"]
    assert log.tail(1) == ["second error"]
    assert log.reason() == "first error"
    log.clear()
    assert log.reason() == "llama.cpp gave no reason"


@pytest.mark.parametrize(("setting", "policy"), [(None, "PASSIVE"), ("active", "ACTIVE")])
def test_waiting_is_passive_unless_chosen_and_the_environment_stays(setting: str | None, policy: str) -> None:
    """libgomp itself says which policy it read (OMP_DISPLAY_ENV), in a fresh process."""
    code = "import os; from quantcheck.ggml.library import load; load(); print(os.environ.get('OMP_WAIT_POLICY'))"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "true", "PYTHONPATH": os.pathsep.join(sys.path)}
    if setting is not None:
        environment["OMP_WAIT_POLICY"] = setting
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr
    assert done.stdout.strip() == str(setting)
