"""The C structs of llama.cpp that cross the ctypes border, and the check that they are the right ones.

llama.cpp changes these layouts between versions without a word, and a wrong layout does not crash: it runs with
other settings. So the field order here belongs to exactly one wheel (`library.WHEEL_VERSION`), and `drift` compares
what the loaded library fills in with the defaults and sizes of that version's `llama-model.cpp`,
`llama-context.cpp` and `ggml.h` before anything is measured.
"""

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char,
    c_char_p,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_void_p,
)

__all__ = [
    "Batch",
    "ContextParams",
    "EvalCallback",
    "FromFloat",
    "LogCallback",
    "ModelParams",
    "Tensor",
    "ToFloat",
    "TypeTraits",
    "drift",
]

EvalCallback = CFUNCTYPE(c_bool, c_void_p, c_bool, c_void_p)
"""`ggml_backend_sched_eval_callback`: (tensor, ask, user_data) -> go on."""
LogCallback = CFUNCTYPE(None, c_int, c_char_p, c_void_p)
"""`ggml_log_callback`: (level, text, user_data)."""
ToFloat = CFUNCTYPE(None, c_void_p, c_void_p, c_int64)
"""`ggml_to_float_t`: (blocks, floats out, number of elements)."""
FromFloat = CFUNCTYPE(None, c_void_p, c_void_p, c_int64)
"""`ggml_from_float_t`: (floats, blocks out, number of elements)."""


class ModelParams(Structure):
    """`struct llama_model_params`."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    )


class ContextParams(Structure):
    """`struct llama_context_params`."""

    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int),
        ("rope_scaling_type", c_int),
        ("pooling_type", c_int),
        ("attention_type", c_int),
        ("flash_attn_type", c_int),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", EvalCallback),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int),
        ("type_v", c_int),
        ("moe_cache_size", c_size_t),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    )


class Batch(Structure):
    """`struct llama_batch`: parallel arrays of `n_tokens` entries."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", c_void_p),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    )


class Tensor(Structure):
    """`struct ggml_tensor`, read-only: what an evaluation callback is shown."""


Tensor._fields_ = (
    ("type", c_int),
    ("buffer", c_void_p),
    ("ne", c_int64 * 4),
    ("nb", c_size_t * 4),
    ("op", c_int),
    ("op_params", c_int32 * 16),
    ("flags", c_int32),
    ("src", POINTER(Tensor) * 10),
    ("view_src", c_void_p),
    ("view_offs", c_size_t),
    ("data", c_void_p),
    ("name", c_char * 64),
    ("extra", c_void_p),
    ("padding", c_char * 8),
)


class TypeTraits(Structure):
    """`struct ggml_type_traits`: one number format."""

    _fields_ = (
        ("type_name", c_char_p),
        ("blck_size", c_int64),
        ("blck_size_interleave", c_int64),
        ("type_size", c_size_t),
        ("is_quantized", c_bool),
        ("to_float", ToFloat),
        ("from_float_ref", FromFloat),
    )


# Every field whose default is not zero, and some zero ones between them: a field added, dropped or moved shifts at
# least one of these.
# fmt: off
_MODEL_DEFAULTS: dict[str, int] = {
    "n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "lazy_mode": 1, "main_gpu": 0,
    "vocab_only": 0, "check_tensors": 0, "use_extra_bufts": 1, "no_host": 0, "no_alloc": 0, "load_mtp": 0,
}
_CONTEXT_DEFAULTS: dict[str, int] = {
    "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_rs_seq": 0,
    "n_outputs_max": 0, "n_outputs_max_per_seq": 1, "n_threads": 4, "n_threads_batch": 4,
    "ctx_type": 0, "rope_scaling_type": -1, "pooling_type": -1, "attention_type": -1, "flash_attn_type": -1,
    "rope_freq_base": 0, "rope_freq_scale": 0, "yarn_ext_factor": -1, "yarn_attn_factor": -1,
    "yarn_beta_fast": -1, "yarn_beta_slow": -1, "yarn_orig_ctx": 0, "defrag_thold": -1,
    "type_k": 1, "type_v": 1, "moe_cache_size": 0,
    "embeddings": 0, "offload_kqv": 1, "no_perf": 1, "op_offload": 1, "swa_full": 1, "kv_unified": 0,
    "n_samplers": 0,
}
# fmt: on
_OBJECT_BYTES = 32
"""`sizeof(struct ggml_object)`: what `ggml_tensor_overhead()` adds to the size of a tensor."""
_Q4_K = 12


def drift(lib: ctypes.CDLL) -> list[str]:
    """What `lib` does not agree on with the layouts above: an empty list is agreement.

    `lib` must have its functions declared (`library.load` does so before it asks).
    """
    found = []
    for title, params, expected in (
        ("llama_model_params", lib.llama_model_default_params(), _MODEL_DEFAULTS),
        ("llama_context_params", lib.llama_context_default_params(), _CONTEXT_DEFAULTS),
    ):
        for field, value in expected.items():
            seen = getattr(params, field)
            if seen != value:
                found.append(f"{title}.{field} is {seen}, expected {value}")
    tensor = lib.ggml_tensor_overhead() - _OBJECT_BYTES
    if tensor != ctypes.sizeof(Tensor):
        found.append(f"ggml_tensor has {tensor} bytes, expected {ctypes.sizeof(Tensor)}")
    traits = lib.ggml_get_type_traits(_Q4_K).contents
    seen_traits = (traits.type_name, traits.blck_size, traits.type_size, traits.is_quantized, bool(traits.to_float))
    if seen_traits != (b"q4_K", 256, 144, True, True):
        found.append(f"ggml_type_traits of Q4_K is {seen_traits}")
    return found
