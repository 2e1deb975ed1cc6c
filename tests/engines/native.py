"""A llama-server of our own making, for machines where none was compiled: the wheel's, told by llama-server's options.

An option that llama-server does not know, or a value that it would not take, ends it as it would end llama-server.
"""

import sys
from pathlib import Path

from quantcheck.ggml.library import find

__all__ = ["stand_in"]

SERVER = """#!{python}
import argparse, threading
import xllamacpp

parser = argparse.ArgumentParser(allow_abbrev=False)
for name in ("model", "alias", "host", "fit", "cors-origins"):
    parser.add_argument("--" + name, required=True)
for name in ("port", "parallel", "ctx-size", "threads", "threads-batch", "gpu-layers", "cache-ram", "ctx-checkpoints",
             "sse-ping-interval", "verbosity"):
    parser.add_argument("--" + name, type=int, required=True)
for name in ("offline", "no-cache-prompt", "no-cache-idle-slots", "metrics", "no-slots", "no-ui"):
    parser.add_argument("--" + name, action="store_true", required=True)
asked = parser.parse_args()
assert asked.fit in ("on", "off")
p = xllamacpp.CommonParams()
p.model.path, p.model_alias, p.hostnames, p.port = asked.model, [asked.alias], [asked.host], asked.port
p.n_parallel, p.n_ctx, p.n_gpu_layers = asked.parallel, asked.ctx_size, asked.gpu_layers
p.cpuparams.n_threads, p.cpuparams_batch.n_threads = asked.threads, asked.threads_batch
p.cache_prompt, p.cache_ram_mib, p.cache_idle_slots, p.n_ctx_checkpoints = False, asked.cache_ram, False, 0
p.fit_params, p.offline, p.ui, p.endpoint_slots, p.endpoint_metrics = asked.fit == "on", True, False, False, True
p.verbosity = asked.verbosity
server = xllamacpp.Server(p)
threading.Event().wait()
"""


def stand_in(folder: Path) -> Path:
    """Writes the server, and the wheel's library beside it; the server's path."""
    folder.mkdir(parents=True, exist_ok=True)
    server = folder / "llama-server"
    server.write_text(SERVER.replace("{python}", sys.executable), encoding="utf-8")
    server.chmod(0o755)
    (folder / "libllama.so").symlink_to(find())
    return server
