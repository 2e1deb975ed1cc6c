"""A worker process that holds one model under the interpreter that has transformers, and how it is asked."""

import json
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from quantcheck.engines.hf.frames import Arrays, Message, receive, send
from quantcheck.errors import EngineError, EngineUnavailable, ModelError, QuantcheckError, SpecError
from quantcheck.process.managed import ManagedProcess

__all__ = ["Loaded", "Worker", "transformers_packages"]

INSTALL = "quantcheck engines install transformers"
WORKER = Path(__file__).with_name("worker.py")
POLL_S = 0.2
ASK_S = 60.0
GRACE_S = 5.0
SILENCE_S = 1800.0
"""An answer that has not come after so long is given up."""

_ERRORS: Mapping[str, type[QuantcheckError]] = {
    "spec": SpecError, "model": ModelError, "unavailable": EngineUnavailable, "memory": EngineError,
    "engine": EngineError,
}
_ASK = """
import importlib.metadata as m, json, sys
found = {"python": sys.version.split()[0]}
for name in ("transformers", "torch", "accelerate", "bitsandbytes", "torchao", "compressed-tensors", "gptqmodel"):
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
print(json.dumps(found))
"""


class Loaded(BaseModel):
    """Which model a worker loads, and how; `python` is the interpreter. See `loading.load` for the rest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    python: Path
    folder: Path
    dtype: str = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    attention: str = "sdpa"
    threads: int | None = None
    quantization: dict[str, Any] | None = None
    random: bool = False
    seed: int = 0
    start_timeout_s: float = 900.0


@cache
def transformers_packages(python: Path) -> dict[str, str]:
    """Versions of the interpreter and of the packages that set the figures, asked without importing them.

    Raises `EngineUnavailable` when `python` cannot be run or has no transformers and torch.
    """
    try:
        done = subprocess.run([str(python), "-c", _ASK], capture_output=True, text=True, timeout=ASK_S, check=True)
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise EngineUnavailable(f"{python}: cannot be asked for its transformers ({type(error).__name__}); check "
                                f"engine.python, or leave it out and run `{INSTALL}`") from error
    for name in ("transformers", "torch"):
        if name not in found:
            raise EngineUnavailable(f"{python}: has no {name}; name another interpreter (engine.python), or leave it "
                                    f"out and run `{INSTALL}`")
    return found


class Worker:
    """One worker: `start` loads the model, `ask` puts a question. A context manager that ends it.

    `check` is called while it is waited for, and may raise. `timed`: nothing is set that costs speed; else the same
    questions get the same figures again on a GPU, too, and threads that wait leave their core to others.
    """

    def __init__(self, loaded: Loaded, *, name: str, log: Path, check: Callable[[], None] | None = None,
                 timed: bool = False) -> None:
        self._loaded, self._check = loaded, check or (lambda: None)
        self._name = f"transformers worker of {name}"
        self._folder: str | None = None
        self._connection: socket.socket | None = None
        self._process = ManagedProcess([], name=self._name, log=log, grace_s=GRACE_S, tree=True, environment={
            # Files are on the disk by now: nothing is looked up, and nothing is told to anybody.
            "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1",
            **({} if timed else {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OMP_WAIT_POLICY": "passive"}),
        })
        self.facts: dict[str, Any] = {}
        self.ready_s = 0.0

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Raises what `ask` raises, and `EngineUnavailable` for an interpreter without transformers."""
        packages = transformers_packages(self._loaded.python)
        # Only its owner may enter; in the system's own folder, as a socket's path must be short.
        self._folder = tempfile.mkdtemp(prefix="quantcheck-")
        path = str(Path(self._folder) / "worker")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            listener.settimeout(POLL_S)
            self._process.command = [str(self._loaded.python), str(WORKER), path]
            self._process.start()
            try:
                while self._connection is None:
                    try:
                        self._connection = listener.accept()[0]
                    except TimeoutError:
                        self._alive(self._loaded.start_timeout_s)
                settings = self._loaded.model_dump(mode="json", exclude={"python", "start_timeout_s"})
                found, _ = self.ask("load", settings, timeout_s=self._loaded.start_timeout_s)
            except BaseException:
                self.close()
                raise
        self.facts = {"kind": "transformers", "version": packages["transformers"], **found}
        self.ready_s = self._process.age_s

    def ask(self, what: str, meta: Mapping[str, Any] | None = None, arrays: Arrays | None = None, *,
            timeout_s: float = SILENCE_S) -> Message:
        """The answer to one question. Raises what the worker says went wrong, `EngineError` when it is gone."""
        if self._connection is None:
            raise EngineError(f"{self._name} is not ready: start it first")
        answer = None
        try:
            self._connection.settimeout(None)
            send(self._connection, {"do": what, **(meta or {})}, arrays)
            begun = self._process.age_s
            while not self._readable():
                self._alive(begun + timeout_s)
            answer = receive(self._connection)
        except OSError as error:
            self._gone(error)
        if answer is None:
            self._gone(None)
            raise AssertionError
        found, told = answer
        if "error" in found:
            message = found["message"]
            if found["error"] == "memory":
                message = (f"it ran out of memory ({message}): lower engine.batch_size and engine.batch_tokens "
                           "(quality) or load.concurrency (speed)")
            elif found["error"] == "unavailable":
                message = f"{message}; {INSTALL}, or check engine.python"
            raise _ERRORS[found["error"]](f"{self._name}: {message}; log: {self._process.log}")
        return found, told

    def _readable(self) -> bool:
        assert self._connection is not None
        return bool(select.select([self._connection], [], [], POLL_S)[0])

    def _alive(self, until_s: float) -> None:
        self._check()
        self._process.check()
        if self._process.age_s > until_s:
            raise EngineError(f"{self._name} did not answer in time; its last log lines: {self._process.log_tail()}; "
                              f"full log: {self._process.log}; raise engine.start_timeout_s if it only needs longer "
                              "to load")

    def _gone(self, error: OSError | None) -> None:
        """Raises: the worker has ended, or is about to."""
        for _ in range(50):  # its connection goes before its end can be seen
            if not self._process.running():
                self._process.check()
            self._check()
            time.sleep(POLL_S / 10)
        raise EngineError(f"{self._name} broke off ({error or 'no answer'}); log: {self._process.log}")

    def check(self) -> None:
        """Raises `EngineError` when it has ended."""
        self._process.check()

    def close(self) -> None:
        """Ends the worker, for certain; again is harmless."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._process.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
