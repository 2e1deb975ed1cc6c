"""Architectures by name, as their `config.json` has them: enough to measure speed and memory without the weights.

The figures are those of the published checkpoints' configuration files.
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from quantcheck.errors import SpecError

__all__ = ["SHAPES", "shape_config"]


def _llama(hidden: int, feed_forward: int, layers: int, heads: int, kv_heads: int, vocabulary: int, context: int,
           **other: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": feed_forward, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocabulary, "max_position_embeddings": context,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": False,
        "attention_bias": False, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2, **other,
    }


def _qwen(kind: str, hidden: int, feed_forward: int, layers: int, heads: int, kv_heads: int, context: int,
          **other: Any) -> dict[str, Any]:
    return _llama(hidden, feed_forward, layers, heads, kv_heads, 151936, context) | {
        "architectures": [f"{kind.capitalize()}ForCausalLM"], "model_type": kind, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "bos_token_id": 151643, "eos_token_id": 151645, **other,
    }


SHAPES: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "mistral-7b": _llama(4096, 14336, 32, 32, 8, 32768, 32768, rope_theta=1000000.0) | {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "head_dim": 128, "sliding_window": None},
    "llama-2-7b": _llama(4096, 11008, 32, 32, 32, 32000, 4096, rope_theta=10000.0),
    "llama-2-70b": _llama(8192, 28672, 80, 64, 8, 32000, 4096, rope_theta=10000.0),
    "llama-3.2-1b": _llama(2048, 8192, 16, 32, 8, 128256, 131072, tie_word_embeddings=True, head_dim=64),
    "llama-3.1-8b": _llama(4096, 14336, 32, 32, 8, 128256, 131072),
    "llama-3.1-70b": _llama(8192, 28672, 80, 64, 8, 128256, 131072),
    "qwen2.5-0.5b": _qwen("qwen2", 896, 4864, 24, 14, 2, 32768, tie_word_embeddings=True),
    "qwen2.5-7b": _qwen("qwen2", 3584, 18944, 28, 28, 4, 32768),
    "qwen3-8b": _qwen("qwen3", 4096, 12288, 36, 32, 8, 40960, head_dim=128),
    "qwen3-32b": _qwen("qwen3", 5120, 25600, 64, 64, 8, 40960, head_dim=128),
})
"""Name to `config.json`."""


def shape_config(name: str) -> dict[str, Any]:
    """A copy of the `config.json` of a built-in shape; `SpecError` for an unknown name."""
    if name not in SHAPES:
        near = difflib.get_close_matches(name, SHAPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(SHAPES)}"
        raise SpecError(f"model: there is no built-in shape {name!r}; {hint}")
    return dict(SHAPES[name])
