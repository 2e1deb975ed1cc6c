"""llama.cpp's HTTP server, out of the pinned xllamacpp wheel or compiled here, in a child process of our own."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantcheck.engines.llamacpp_log import buffers, kv_cache_bytes, model_fault
from quantcheck.engines.llamacpp_server import ServerSettings
from quantcheck.engines.loopback import require_free
from quantcheck.engines.served import ServedEngine
from quantcheck.errors import ModelError, QuantcheckError, SpecError
from quantcheck.ggml.library import check_cpu, find
from quantcheck.process.managed import ManagedProcess
from quantcheck.spec.experiment import LlamaCppEngine as Settings

__all__ = ["LlamaCppServer", "default_threads"]

CONTEXT_STEP = 256
"""llama.cpp rounds a context up to this many tokens."""
STOPS_SHORT = 2
"""Tokens of a slot's context that llama.cpp leaves unused before it cuts an answer off."""


def default_threads() -> int:
    """Usable cores minus one, at least 1: the client and the system need the last one."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable - 1)


class LlamaCppServer(ServedEngine):
    """One start of the server with one model: `slots` requests at once, each of up to `tokens` tokens.

    `native`: a llama-server of the wheel's version that serves in the wheel's place, its library beside it.
    `settings.context`, when given, replaces `tokens`; raises `SpecError` when it is smaller.
    """

    def __init__(
        self, settings: Settings, model: Path, *, name: str, slots: int, tokens: int, log: Path,
        native: Path | None = None,
    ) -> None:
        if settings.context is not None and settings.context < tokens:
            raise SpecError(
                f"engine.context: {settings.context} tokens are fewer than the {tokens} of the longest prompt with its "
                "answer; raise it, or leave it out"
            )
        need = (settings.context or tokens) + STOPS_SHORT
        self._file = model
        self._server = ServerSettings(
            model=str(model),
            alias=name,
            threads=settings.threads or default_threads(),
            slots=settings.slots or slots,
            context=-(-need // CONTEXT_STEP) * CONTEXT_STEP,
            port=settings.port or 0,
            native=str(native or ""),
        )
        process = ManagedProcess(
            [sys.executable, "-u", "-m", "quantcheck.engines.llamacpp_server", self._server.to_json()],
            name=f"llama.cpp server of {name}",
            log=log,
            # Spinning OpenMP threads would take the cores that the client and the other slots need.
            environment={"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")},
        )
        super().__init__(process, model=name, dialect="llama-server", timeout_s=settings.start_timeout_s)

    def _before_start(self) -> None:
        check_cpu()
        find()
        _require_gguf(self._file)
        require_free(self._server.port or None)

    def _cause(self, log: str) -> QuantcheckError | None:
        fault = model_fault(log)
        if fault is None:
            return None
        return ModelError(f"{self._file}: llama.cpp cannot load it ({fault}); make or download the file again")

    def describe(self) -> Mapping[str, Any]:
        log = self._process.log_text()
        return {
            "kind": "llama.cpp",
            "build": "native" if self._server.native else "wheel",
            "xllamacpp": self._facts.get("xllamacpp"),
            "llama_cpp": self._facts.get("llama_cpp"),
            "system_info": self._facts.get("system_info"),
            "threads": self._server.threads,
            "slots": self._server.slots,
            "context_per_slot": self._server.context,
            "omp_wait_policy": self._process.environment["OMP_WAIT_POLICY"],
            "prompt_cache": False,
            "kv_cache_bytes": kv_cache_bytes(log),
            "buffers": dict(buffers(log)),
            "ready_s": self._ready_s,
        }


def _require_gguf(path: Path) -> None:
    """The cheap half of the check; the server reads the rest and names what is wrong with it."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path of the variant") from error
    if magic != b"GGUF":
        raise ModelError(f"{path}: is not a GGUF file (it starts with {magic!r}); make or download the file again")
