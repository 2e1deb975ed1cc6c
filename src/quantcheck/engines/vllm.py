"""vLLM's own OpenAI-compatible server, run by the interpreter of its own environment."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from quantcheck.engines.health import get_text
from quantcheck.engines.loopback import LOOPBACK, free_port, require_free
from quantcheck.engines.served import ServedEngine
from quantcheck.engines.vllm_log import vllm_abort, vllm_facts
from quantcheck.engines.vllm_metrics import Counters, read_counters
from quantcheck.engines.vllm_python import vllm_packages
from quantcheck.errors import EngineError, ModelError, QuantcheckError
from quantcheck.process.managed import ManagedProcess
from quantcheck.spec.experiment import VllmEngine as Settings

__all__ = ["VllmServer", "command_line"]

GRACE_S = 15.0
"""A server of several processes takes longer to end by itself than one of threads."""
IDLE_S = 2.0
IDLE_POLL_S = 0.02

DEFAULTS: Mapping[str, Any] = {
    # Every request pays for its own prompt; sampling is what the request says, not the model's own configuration.
    "enable-prefix-caching": False,
    "generation-config": "vllm",
}

CPU_DEFAULTS: Mapping[str, Any] = {
    # To the CPU build it means the machine's memory, and its own default of 0.92 is more than is free.
    "gpu-memory-utilization": 0.5,
}
_ROOM = {"gpu-memory-utilization", "kv-cache-memory-bytes", "VLLM_CPU_KVCACHE_SPACE"}
"""What else says how much memory the CPU build takes."""

_FAULTS = (
    (r"(?:torch\.)?OutOfMemoryError: ([^\n]*)", "the GPU's memory is too small"),
    (r"(Free memory on device[^\n]*)", "the GPU's memory is taken"),
    (r"(No available memory for the cache blocks[^\n]*)", "the weights leave no memory for keys and values"),
    (r"(To serve at least one request with the models?'s max seq len[^\n]*)", "its KV cache is too small"),
    (r"(The quantization method \S+ is not supported[^\n]*)", "the GPU cannot run this format"),
    (r"(Failed to find a kernel that can implement[^\n]*)", "the GPU cannot run this format"),
    (r"(Available memory on node[^\n]*)", "the memory is too small for its KV cache"),
    (r"(No working C\+\+ compiler found[^\n]*)", "it needs a compiler: apt-get install g++ python3-dev"),
    (r"(Python\.h: No such file[^\n]*)", "it needs Python's headers: apt-get install python3-dev"),
    (r"\[Errno 98\] ([Aa]ddress already in use[^\n]*)", "another program took its port meanwhile: try again"),
    (r"error: (unrecognized arguments: [^\n]*)", "it does not know an option of engine.args"),
    (r"error: (argument [^\n]*)", "it refuses an option of engine.args"),
    (r"(?:ValueError|RuntimeError|NotImplementedError|AssertionError): (?!Engine core init)([^\n]+)", "it refused"),
)
"""What a failed start says, from the most telling to the least."""

_MEETING_PLACE = re.compile(r"distributed_init_method=file://(/\S*/vllm_dist_[0-9a-f]{32})\s")
"""The file in the folder for temporary files by which a start's workers find each other; newer versions leave it."""


def command_line(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Options as `vllm serve` takes them: true and false become `--x` and `--no-x`; None is left out."""
    for name, value in arguments.items():
        if value is None:
            continue
        if isinstance(value, bool):
            yield f"--{name}" if value else f"--no-{name}"
        else:
            yield f"--{name}"
            yield json.dumps(value) if isinstance(value, list | dict) else str(value)


class VllmServer(ServedEngine):
    """One start of the server with one model folder, for requests of up to `tokens` tokens.

    `python`: the interpreter that has vLLM. `arguments`: further options, which go before `settings.args`.
    """

    def __init__(
        self, settings: Settings, model: Path, *, name: str, tokens: int, log: Path, python: Path,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = model
        self._tokens = tokens
        self._python = python
        self._port = settings.port
        self._arguments = {**DEFAULTS, **settings.args, **(arguments or {})}
        process = ManagedProcess(
            [], name=f"vLLM server of {name}", log=log, grace_s=GRACE_S, tree=True,
            environment={
                # Files are on the disk by now: nothing is looked up, and nothing is told to anybody.
                "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
                **settings.environment,
            },
        )
        super().__init__(process, model=name, dialect="completions", timeout_s=settings.start_timeout_s)

    def _before_start(self) -> None:
        self._packages = vllm_packages(self._python)
        if "vllm-cpu" in self._packages and not _ROOM & {*self._arguments, *self._process.environment, *os.environ}:
            self._arguments |= CPU_DEFAULTS
        self._check_model()
        port = require_free(self._port) or free_port()
        self._facts = {"base_url": f"http://{LOOPBACK}:{port}"}
        self._process.command = [
            str(self._python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(self._folder),
            "--served-model-name", self._model, "--host", LOOPBACK, "--port", str(port),
            *command_line(self._arguments),
        ]

    def _check_model(self) -> None:
        path = self._folder / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read ({error}); vLLM needs a Hugging Face model folder") from error
        most = self._arguments.get("max-model-len") or config.get("max_position_embeddings")
        if isinstance(most, int) and self._tokens > most:
            raise ModelError(f"{self._model}: holds {most} tokens, and the longest prompt with its answer has "
                            f"{self._tokens}; shorten the workload")

    def check(self) -> None:
        try:
            super().check()
        except EngineError as error:
            if why := vllm_abort(self._process.log_text()):
                raise EngineError(f"{self._process.name} is gone: {why}; full log: {self._process.log}") from error
            raise

    def _cause(self, log: str) -> QuantcheckError | None:
        if why := vllm_abort(log):
            return EngineError(f"{self._process.name} did not start: {why}; full log: {self._process.log}")
        for pattern, meaning in _FAULTS:
            if found := re.search(pattern, log):
                said = " ".join(found.group(1).split())
                return EngineError(f"{self._process.name} did not start: {meaning} ({said[:300]}); full log: "
                                   f"{self._process.log}")
        return None

    def stop(self) -> None:
        super().stop()
        for name in _MEETING_PLACE.findall(self._process.log_text()):
            with suppress(OSError):
                Path(name).unlink()

    def describe(self) -> Mapping[str, Any]:
        facts = vllm_facts(self._process.log_text())
        return {
            "kind": "vllm",
            "version": self._packages["vllm"],
            "packages": dict(self._packages),
            "args": {key: value for key, value in self._arguments.items() if value is not None},
            "prompt_cache": bool(self._arguments.get("enable-prefix-caching")),
            **facts,
            "kv_bytes_per_value": 1.0 if str(facts.get("kv_cache_dtype", "")).startswith("fp8") else 2.0,
            "ready_s": self._ready_s,
        }

    def counters(self) -> Counters:
        """Read when the server has no request left, or after 2 s: what is under way is counted in part only."""
        end = time.monotonic() + IDLE_S
        while True:
            found = read_counters(get_text(f"{self._facts['base_url']}/metrics") or "")
            if not found.busy or time.monotonic() > end:
                return found
            time.sleep(IDLE_POLL_S)
