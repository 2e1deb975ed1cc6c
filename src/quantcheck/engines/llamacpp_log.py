"""Reading facts out of the llama.cpp server's log: what it reserved, and why it refused a model."""

import re
from collections.abc import Mapping

__all__ = ["buffers", "kv_cache_bytes", "model_fault"]

MIB = 1 << 20
_BUFFER = re.compile(r"(\S+)\s+(model|KV|RS|compute|output) buffer size\s*=\s*([\d.]+) MiB")
_CACHE = re.compile(r"(?:llama_kv_cache\w*|llama_memory_recurrent):\s+size\s*=\s*([\d.]+) MiB")
_FAULT = re.compile(r"error loading model: (.+)")
_READER = re.compile(r"\bE (gguf_init\w*: .+)")


def buffers(log: str) -> Mapping[str, int]:
    """Bytes by buffer, e.g. {"CPU_Mapped model": 17843200, "CPU compute": ...}; the log rounds to 0.01 MiB.

    A `CPU_REPACK model` buffer is a second copy of weights, rearranged for the CPU's instructions.
    """
    found: dict[str, int] = {}
    for device, kind, size in _BUFFER.findall(log):
        name = f"{device} {kind}"
        found[name] = found.get(name, 0) + round(float(size) * MIB)
    return found


def kv_cache_bytes(log: str) -> int | None:
    """Bytes reserved for keys and values of all slots, summed over caches; None when the log does not say."""
    sizes = _CACHE.findall(log)
    return sum(round(float(size) * MIB) for size in sizes) if sizes else None


def model_fault(log: str) -> str | None:
    """Why the server refused the model file; None when the file was not the reason."""
    fault = _FAULT.search(log)
    if fault is None:
        return None
    reader = _READER.search(log)  # the line before says more than "failed to load model from FILE"
    return (reader if reader else fault).group(1).strip()
