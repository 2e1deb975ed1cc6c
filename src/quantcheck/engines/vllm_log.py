"""Reading out of vLLM's log what a start really used: kernels, memory, capacity. Seen with 0.20 to 0.32.

A log line begins with its process in brackets, level, date and place in vLLM's source, as in
`(EngineCore pid=1) INFO 11-25 02:27:33 [model_runner.py:302] Model loading took 13.51 GiB and 1.9 seconds`.
"""

import re
from collections.abc import Callable
from typing import Any

__all__ = ["vllm_abort", "vllm_facts"]

_ABORTS = (
    (r"scale_C: scalar path not implemented",
     "vLLM's INT8 kernel for CPUs with AMX computes in bfloat16 alone; give the variant `args: {dtype: bfloat16}`"),
)
"""What ends a server that had started, at its first requests, and what helps."""

GIB = 1 << 30


def _bytes(text: str) -> int:
    return round(float(text) * GIB)


def _whole(text: str) -> int:
    return int(text.replace(",", ""))


_ONCE: dict[str, tuple[str, Callable[[str], Any]]] = {
    "vllm": (r"LLM engine \(v([^)]+)\)", str),
    "dtype": (r"\bdtype=torch\.(\w+)", str),
    "quantization": (r"\bquantization=([\w-]+)", str),
    "kv_cache_dtype": (r"\bkv_cache_dtype=([\w-]+)", str),
    "tensor_parallel": (r"\btensor_parallel_size=(\d+)", int),
    "prefix_caching": (r"\benable_prefix_caching=(True|False)", "True".__eq__),
    "chunked_prefill": (r"\benable_chunked_prefill=(True|False)", "True".__eq__),
    "attention_backend": (r"Using (?:AttentionBackendEnum\.)?(\w+) (?:attention backend|backend\.)", str),
    "flash_attention": (r"Using FlashAttention version (\d+)", int),
    "weights_bytes": (r"Model loading took ([\d.]+) Gi?B", _bytes),
    # Found by itself on a GPU, given by kv-cache-memory-bytes, and given to the CPU build.
    "kv_cache_bytes": (r"(?:Available KV cache memory: |GiB, reserved |Explicitly set \()([\d.]+)(?: |/[\d.]+\) )GiB",
                       _bytes),
    "kv_cache_tokens": (r"KV cache size: ([\d,]+) tokens", _whole),
    "graphs_bytes": (r"Graph capturing finished in [\d.]+ secs, took ([\d.]+) GiB", _bytes),
    "compile_s": (r"torch\.compile took ([\d.]+) s in total", float),
}
_KERNEL = re.compile(r"(?:Using|Selected) (\w+) for (\w+)")
_GRAPH_SIZES = re.compile(r"'cudagraph_capture_sizes': \[([\d, ]*)\]")


def vllm_facts(log: str) -> dict[str, Any]:
    """What `log` tells; a fact that it does not tell is not there.

    `kernels`: what does a kind of layer, by the layer's method (`CompressedTensorsWNA16: MacheteLinearKernel`). Bytes
    are as exact as the log's two decimals of GiB; `weights_bytes` and `kv_cache_bytes` are of one rank.
    """
    found: dict[str, Any] = {}
    for name, (pattern, read) in _ONCE.items():
        if match := re.search(pattern, log):
            value = read(match.group(1))
            found[name] = None if value == "None" else value
    if kernels := {layer: kernel for kernel, layer in _KERNEL.findall(log)}:
        found["kernels"] = kernels
    if (sizes := _GRAPH_SIZES.search(log)) and sizes.group(1):
        found["graph_sizes"] = [int(size) for size in sizes.group(1).split(",")]
    return found


def vllm_abort(log: str) -> str | None:
    """Why a server ended that had started, and the remedy, where `log` tells a cause that is known."""
    return next((meaning for pattern, meaning in _ABORTS if re.search(pattern, log)), None)
