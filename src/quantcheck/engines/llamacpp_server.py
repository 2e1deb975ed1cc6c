"""The child process that is the llama.cpp server: `python -m quantcheck.engines.llamacpp_server SETTINGS`.

SETTINGS is one JSON object, see `ServerSettings`. The server inside the xllamacpp wheel runs in threads of this
process, so this process is what the parent starts, watches, measures and ends. Once the server listens, its
address and what the wheel says of itself are announced on stdout (`ready.py`).

With `native` this process becomes that llama-server, told the same by its options. Its address is announced before.
"""

import ctypes
import importlib.metadata
import json
import os
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quantcheck.engines.loopback import LOOPBACK, free_port
from quantcheck.engines.ready import announce
from quantcheck.ggml.library import find

__all__ = ["EXIT_REFUSED", "VERBOSITY", "ServerSettings", "main"]

EXIT_REFUSED = 3
VERBOSITY = 4
"""llama.cpp's log level at which it says how many bytes it reserves; 5 would log every token."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything that the server is told. `port` 0: any free one. `context` is per slot, in tokens.

    `native`: the path of a llama-server of the wheel's version, its library beside it; empty: the wheel's.
    """

    model: str
    alias: str
    threads: int
    slots: int
    context: int
    port: int = 0
    native: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def _parameters(settings: ServerSettings) -> Any:
    import xllamacpp  # only here: the parent reads this module's names and must not load 100 MB for it

    p = xllamacpp.CommonParams()
    p.model.path = settings.model
    p.model_alias = [settings.alias]
    p.hostnames = ["127.0.0.1"]
    p.port = settings.port
    p.offline = True
    p.n_parallel = settings.slots
    p.n_ctx = settings.context * settings.slots
    p.cpuparams.n_threads = settings.threads
    p.cpuparams_batch.n_threads = settings.threads
    p.n_gpu_layers = 0
    p.fit_params = False  # it would change what was asked for to fit some device's memory
    # Every request pays for its own prompt: nothing is reused from an earlier one.
    p.cache_prompt = False
    p.cache_ram_mib = 0
    p.cache_idle_slots = False
    p.n_ctx_checkpoints = 0
    p.endpoint_metrics = True
    p.endpoint_slots = False
    p.ui = False
    p.cors_origins = ""
    p.sse_ping_interval = -1  # a comment line in a stream would be one more packet that is not a token
    p.verbosity = VERBOSITY
    return p


def _options(settings: ServerSettings, port: int) -> list[str]:
    """What `_parameters` says, as llama-server's options; others have the same defaults."""
    return [
        "--model", settings.model, "--alias", settings.alias, "--host", LOOPBACK, "--port", str(port), "--offline",
        "--parallel", str(settings.slots), "--ctx-size", str(settings.context * settings.slots),
        "--threads", str(settings.threads), "--threads-batch", str(settings.threads), "--gpu-layers", "0",
        "--fit", "off", "--no-cache-prompt", "--cache-ram", "0", "--no-cache-idle-slots", "--ctx-checkpoints", "0",
        "--metrics", "--no-slots", "--no-ui", "--cors-origins", "", "--sse-ping-interval", "-1",
        "--verbosity", str(VERBOSITY),
    ]  # fmt: skip


def _asked(library: Path, name: str) -> str:
    """The text that the library's function `name` returns, such as its version: the wheel's BUILD_INFO says "unknown".
    """
    function = getattr(ctypes.CDLL(str(library)), name)
    function.restype = ctypes.c_char_p
    return str(function().decode())


def _become(settings: ServerSettings) -> int:
    port = settings.port or free_port()
    library = Path(settings.native).with_name("libllama.so")
    announce({
        "base_url": f"http://{LOOPBACK}:{port}",
        "xllamacpp": importlib.metadata.version("xllamacpp"),
        "llama_cpp": _asked(library, "llama_version"),
        "system_info": _asked(library, "llama_print_system_info").strip(" |"),
    })
    os.execv(settings.native, [settings.native, *_options(settings, port)])


def main(argv: list[str]) -> int:
    """Serves until killed. Exit status 3: the server refused the model or its settings (see the log)."""
    settings = ServerSettings(**json.loads(argv[1]))
    if settings.native:
        return _become(settings)
    import xllamacpp

    try:
        server = xllamacpp.Server(_parameters(settings))
    except RuntimeError as error:
        print(f"quantcheck: {error}", flush=True)
        return EXIT_REFUSED
    facts = {
        "base_url": server.listening_address,
        "xllamacpp": importlib.metadata.version("xllamacpp"),
        "llama_cpp": _asked(find(), "llama_version"),
        "system_info": xllamacpp.get_system_info().strip(" |"),
    }
    announce(facts)
    threading.Event().wait()  # SIGTERM's default action ends us; there is nothing to save
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
