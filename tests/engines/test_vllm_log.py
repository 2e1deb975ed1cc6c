"""What vLLM's log tells of a start; the logs are of real starts, progress bars and paths taken out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.engines.vllm_log import vllm_abort, vllm_facts

LOGS = Path(__file__).with_name("logs")


def read(name: str) -> str:
    return (LOGS / name).read_text(encoding="utf-8")


def test_a_start_on_a_gpu() -> None:
    found = vllm_facts(read("vllm-0.25.1-h200-fp16.txt"))
    sizes = found.pop("graph_sizes")
    assert (len(sizes), sizes[:3], sizes[-1]) == (51, [1, 2, 4], 512)
    assert found == {
        "vllm": "0.25.1", "dtype": "float16", "quantization": None, "kv_cache_dtype": "auto", "tensor_parallel": 1,
        "prefix_caching": False, "chunked_prefill": True, "attention_backend": "FLASH_ATTN", "flash_attention": 3,
        "weights_bytes": round(13.51 * 2**30), "kv_cache_bytes": round(113.95 * 2**30), "kv_cache_tokens": 933_472,
        "graphs_bytes": round(0.59 * 2**30), "compile_s": 25.26,
    }


def test_a_start_on_a_cpu() -> None:
    assert vllm_facts(read("vllm-0.32.0-cpu-bf16.txt")) == {
        "vllm": "0.32.0", "dtype": "bfloat16", "quantization": None, "kv_cache_dtype": "auto", "tensor_parallel": 1,
        "prefix_caching": True, "chunked_prefill": True, "kv_cache_bytes": 1 << 30,
        "kv_cache_tokens": 262_144,
    }


def test_kernels_by_layer() -> None:
    log = ("(EngineCore pid=1) INFO 11-25 02:13:14 [__init__.py:12] Using MacheteLinearKernel for "
           "CompressedTensorsWNA16\n(EngineCore pid=1) INFO 11-25 [x.py:1] Selected CutlassFP8ScaledMMLinearKernel for "
           "CompressedTensorsW8A8Fp8\n")
    assert vllm_facts(log) == {"kernels": {"CompressedTensorsWNA16": "MacheteLinearKernel",
                                           "CompressedTensorsW8A8Fp8": "CutlassFP8ScaledMMLinearKernel"}}


@pytest.mark.parametrize("said", [
    "Using FLASHINFER attention backend out of potential backends: ['FLASHINFER', 'TRITON_ATTN'].",
    "Using AttentionBackendEnum.FLASHINFER backend.", "Using FLASHINFER backend.",
])
def test_the_backend_is_told_whoever_chose_it(said: str) -> None:
    """The second and third are what engine.args' `attention-backend` brings (vLLM's platforms/cuda.py)."""
    assert vllm_facts(f"(EngineCore pid=1) INFO 11-25 02:13:14 [cuda.py:308] {said}\n") == {
        "attention_backend": "FLASHINFER"}


def test_a_cache_of_a_given_size_is_told() -> None:
    """Of vLLM's gpu_worker.py, with `kv-cache-memory-bytes`."""
    log = ("INFO [gpu_worker.py:355] Initial free memory 78.55 GiB, reserved 0.25 GiB memory for KV Cache as specified "
           "by kv_cache_memory_bytes config and skipped memory profiling.\n")
    assert vllm_facts(log) == {"kv_cache_bytes": 1 << 28}


ABORTED = """\
(EngineCore pid=7) INFO 11-28 18:02:10 [cpu_model_runner.py:66] Warming up done.
(APIServer pid=1) INFO:     Application startup complete.
terminate called after throwing an instance of 'c10::Error'
  what():  scale_C: scalar path not implemented!
(APIServer pid=1) ERROR 11-28 18:02:31 [async_llm.py:501] EngineCore encountered an issue. See stack trace (above).
"""
"""What float16 in the INT8 kernel for CPUs with AMX leaves in the log; the other lines are of any start."""


def test_an_abort_whose_cause_is_known_says_what_helps() -> None:
    assert "give the variant `args: {dtype: bfloat16}`" in (vllm_abort(ABORTED) or "")
    assert vllm_abort(ABORTED.replace("scale_C", "other")) is None
    assert vllm_abort(read("vllm-0.32.0-cpu-bf16.txt")) is None


@given(st.text())
def test_any_text_is_read(log: str) -> None:
    assert all(isinstance(name, str) for name in vllm_facts(log))
