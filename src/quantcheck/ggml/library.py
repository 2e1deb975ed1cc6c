"""Finding, checking and loading llama.cpp's shared object out of the `xllamacpp` wheel, or another of its version.

The wheel needs no compiler and its extension module exports llama.cpp's C functions; ctypes calls them without
importing the Python side. Before the file is opened the CPU is checked (the wheel is built for AVX2 without
dispatch: elsewhere it dies of an illegal instruction), and after it the struct layouts (`layout.drift`).

**Threads and waiting.** The library runs a graph's threads by OpenMP, whose threads spin while they wait unless
`OMP_WAIT_POLICY=passive`; with as many threads as cores that ruins whatever else runs. OpenMP reads the variable
once, when its own library is loaded: `load` sets it around the opening unless the user set it, and leaves the
environment as it was. It has no effect if something in the process loaded libgomp before.
"""

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import platform
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from quantcheck.errors import EngineUnavailable
from quantcheck.ggml.layout import Batch, ContextParams, LogCallback, ModelParams, TypeTraits, drift

__all__ = ["CPU_FEATURES", "WHEEL", "WHEEL_VERSION", "Log", "check_cpu", "find", "load", "log", "use", "versions"]

WHEEL = "xllamacpp"
WHEEL_VERSION = "2026.10.11549"
"""The one version whose struct layouts `layout` describes."""
CPU_FEATURES = ("avx2", "fma", "f16c", "bmi2")
"""What the wheel's code uses without asking, as /proc/cpuinfo names it."""

_INSTALL = f"pip install {WHEEL}=={WHEEL_VERSION}"
_CPUINFO = Path("/proc/cpuinfo")
_LOG_ERROR, _LOG_CONTINUED = 4, 5


class Log:
    """llama.cpp's log, kept instead of printed: the last lines, and the errors among them."""

    def __init__(self, lines: int = 60) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=lines)
        self._lock = threading.Lock()

    def write(self, level: int, text: str) -> None:
        """One piece of text at ggml's `level`; a piece of level 5 continues the line before."""
        with self._lock:
            if level == _LOG_CONTINUED and self._lines:
                last, line = self._lines.pop()
                self._lines.append((last, line + text))
            else:
                self._lines.append((level, text))

    def clear(self) -> None:
        with self._lock:
            self._lines.clear()

    def tail(self, count: int = 10) -> list[str]:
        """The last `count` lines."""
        with self._lock:
            return [line.rstrip() for _, line in list(self._lines)[-count:]]

    def reason(self) -> str:
        """The first error since `clear` as one line: later ones only say that the step around it failed too."""
        with self._lock:
            errors = [" ".join(line.split()) for level, line in self._lines if level == _LOG_ERROR]
        return errors[0] if errors else "llama.cpp gave no reason"


log = Log()


def _collect(level: int, text: bytes | None, _user_data: int | None) -> None:
    log.write(level, (text or b"").decode("utf-8", "replace"))


_callback = LogCallback(_collect)
"""Kept here because the C side keeps only its address."""


def check_cpu(cpuinfo: str | None = None) -> None:
    """Raises EngineUnavailable when this CPU lacks an instruction set that the wheel takes for granted.

    `cpuinfo` is the text of /proc/cpuinfo (read when not given). Other architectures than x86-64 have wheels of
    their own, without such a list: nothing is checked there.
    """
    if cpuinfo is None:
        if platform.machine() not in ("x86_64", "AMD64") or not _CPUINFO.exists():
            return
        cpuinfo = _CPUINFO.read_text()
    flags = next((line.split(":", 1)[1].split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    missing = [feature for feature in CPU_FEATURES if feature not in flags]
    if missing:
        names = ", ".join(missing).upper()
        raise EngineUnavailable(
            f"llama.cpp cannot run on this CPU: it has no {names}, which the {WHEEL} wheel needs; "
            "use another machine or an engine that is reached over HTTP"
        )


_used: list[Path] = []


def use(library: Path) -> None:
    """Have this process load `library` instead of the wheel's; before anything has loaded that."""
    if load.cache_info().currsize:
        raise RuntimeError("llama.cpp is loaded already")
    _used[:] = [library]


def find() -> Path:
    """The path of the shared object: what `use` said, else the wheel's.

    EngineUnavailable when the wheel is missing or of another version.
    """
    if _used:
        return _used[0]
    try:
        version = importlib.metadata.version(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        raise EngineUnavailable(f"llama.cpp is not installed: {_INSTALL}") from None
    if version != WHEEL_VERSION:
        raise EngineUnavailable(
            f"{WHEEL} {version} is installed, but its struct layouts are known for {WHEEL_VERSION} only: {_INSTALL}"
        )
    spec = importlib.util.find_spec(WHEEL)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob(f"{WHEEL}.*")):
            if file.suffix in (".so", ".pyd", ".dylib"):
                return file
    raise EngineUnavailable(f"{WHEEL} {version} is installed without its shared object: {_INSTALL} --force-reinstall")


def _remedy() -> str:
    if _used:
        return "compile it again: quantcheck engines remove llama.cpp; quantcheck engines install llama.cpp"
    return f"{_INSTALL} --force-reinstall"


@contextmanager
def _passive_waiting() -> Iterator[None]:
    """`OMP_WAIT_POLICY=passive` while a library is opened, unless the user chose otherwise."""
    if "OMP_WAIT_POLICY" in os.environ:
        yield
        return
    os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:
        os.environ.pop("OMP_WAIT_POLICY", None)


@functools.cache
def load() -> ctypes.CDLL:
    """llama.cpp's library, checked and with the functions declared that quantcheck calls; loaded once a process.

    Its log goes to `log`. Raises EngineUnavailable with one line that names the remedy.
    """
    check_cpu()
    path = find()
    try:
        with _passive_waiting():
            lib = ctypes.CDLL(str(path))
    except OSError as error:
        remedy = "install libgomp (Debian: apt-get install libgomp1)" if "libgomp" in str(error) else _remedy()
        raise EngineUnavailable(f"llama.cpp does not load: {error}; {remedy}") from error
    try:
        _declare(lib)
    except AttributeError as error:
        raise EngineUnavailable(f"{path.name} lacks a function ({error}): {_remedy()}") from error
    found = drift(lib)
    if found:
        raise EngineUnavailable(
            f"{path.name} is not the {WHEEL_VERSION} that quantcheck knows ({found[0]}): {_remedy()}"
        )
    lib.llama_log_set(_callback, None)
    lib.llama_backend_init()
    return lib


def versions() -> dict[str, str]:
    """What was built and how: wheel, llama.cpp and ggml versions, and the instruction sets used."""
    lib = load()
    return {
        "wheel": f"{WHEEL}=={WHEEL_VERSION}",
        "llama.cpp": lib.llama_version().decode(),
        "ggml": lib.ggml_version().decode(),
        "system_info": lib.llama_print_system_info().decode().strip(" |"),
    }


def _declare(lib: ctypes.CDLL) -> None:
    """Argument and result types of everything that is called; AttributeError names a missing function."""
    model = context = vocab = memory = tensor = c_void_p
    pos = seq = token = c_int32
    table: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "llama_version": (c_char_p, ()),
        "ggml_version": (c_char_p, ()),
        "llama_print_system_info": (c_char_p, ()),
        "llama_log_set": (None, (LogCallback, c_void_p)),
        "llama_backend_init": (None, ()),
        "llama_model_default_params": (ModelParams, ()),
        "llama_context_default_params": (ContextParams, ()),
        "llama_model_load_from_file": (model, (c_char_p, ModelParams)),
        "llama_model_free": (None, (model,)),
        "llama_model_get_vocab": (vocab, (model,)),
        "llama_model_n_ctx_train": (c_int32, (model,)),
        "llama_model_n_embd": (c_int32, (model,)),
        "llama_model_n_layer": (c_int32, (model,)),
        "llama_model_n_head": (c_int32, (model,)),
        "llama_model_n_head_kv": (c_int32, (model,)),
        "llama_model_n_params": (c_uint64, (model,)),
        "llama_model_size": (c_uint64, (model,)),
        "llama_model_desc": (c_int32, (model, c_char_p, c_size_t)),
        "llama_vocab_n_tokens": (c_int32, (vocab,)),
        "llama_vocab_bos": (token, (vocab,)),
        "llama_vocab_eos": (token, (vocab,)),
        "llama_vocab_get_add_bos": (c_bool, (vocab,)),
        "llama_init_from_model": (context, (model, ContextParams)),
        "llama_free": (None, (context,)),
        "llama_n_ctx": (c_uint32, (context,)),
        "llama_n_ctx_seq": (c_uint32, (context,)),
        "llama_n_batch": (c_uint32, (context,)),
        "llama_n_ubatch": (c_uint32, (context,)),
        "llama_decode": (c_int32, (context, Batch)),
        "llama_get_logits": (POINTER(c_float), (context,)),
        "llama_get_memory": (memory, (context,)),
        "llama_memory_clear": (None, (memory, c_bool)),
        "llama_memory_seq_rm": (c_bool, (memory, seq, pos, pos)),
        "llama_memory_seq_cp": (None, (memory, seq, seq, pos, pos)),
        "ggml_tensor_overhead": (c_size_t, ()),
        "ggml_op_name": (c_char_p, (c_int,)),
        "ggml_nbytes": (c_size_t, (tensor,)),
        "ggml_backend_buffer_is_host": (c_bool, (c_void_p,)),
        "ggml_get_type_traits": (POINTER(TypeTraits), (c_int,)),
        "ggml_row_size": (c_size_t, (c_int, c_int64)),
        "ggml_quantize_requires_imatrix": (c_bool, (c_int,)),
        "ggml_quantize_chunk": (c_size_t, (c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p)),
    }
    for name, (result, arguments) in table.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
