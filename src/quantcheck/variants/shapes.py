"""Architectures by name, as their `config.json` has them: enough to measure speed and memory without the weights.

The figures are those of the published checkpoints' configuration files.
"""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from quantcheck.errors import ModelError, SpecError
from quantcheck.variants.source import find_config

__all__ = ["SHAPES", "read_config_file", "read_config_of", "shape_config"]


def _llama(hidden: int, feed_forward: int, layers: int, heads: int, kv_heads: int, vocabulary: int, context: int,
           **other: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": feed_forward, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocabulary, "max_position_embeddings": context,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2, **other,
    }


def _llama3(hidden: int, feed_forward: int, layers: int, heads: int, kv_heads: int, stretch: float,
            **other: Any) -> dict[str, Any]:
    """From 3.1 on; `stretch` is the factor by which the rotary frequencies reach beyond the 8192 trained positions."""
    rope = {"rope_type": "llama3", "factor": stretch, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}
    return _llama(hidden, feed_forward, layers, heads, kv_heads, 128256, 131072) | {
        "rope_theta": 500000.0, "rope_scaling": rope, "attention_bias": False, "bos_token_id": 128000,
        "eos_token_id": 128001, **other}


def _mistral(hidden: int, feed_forward: int, layers: int, vocabulary: int, context: int,
             theta: float) -> dict[str, Any]:
    return _llama(hidden, feed_forward, layers, 32, 8, vocabulary, context) | {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "head_dim": 128, "sliding_window": None,
        "rope_theta": theta}


def _qwen(kind: str, hidden: int, feed_forward: int, layers: int, heads: int, kv_heads: int, vocabulary: int,
          context: int, **other: Any) -> dict[str, Any]:
    return _llama(hidden, feed_forward, layers, heads, kv_heads, vocabulary, context) | {
        "architectures": [f"{kind.capitalize()}ForCausalLM"], "model_type": kind, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0, "bos_token_id": 151643, "eos_token_id": 151645, **other,
    }


def _qwen2(hidden: int, feed_forward: int, layers: int, heads: int, kv_heads: int, vocabulary: int = 152064,
           **other: Any) -> dict[str, Any]:
    return _qwen("qwen2", hidden, feed_forward, layers, heads, kv_heads, vocabulary, 32768, **other)


def _qwen3(hidden: int, feed_forward: int, layers: int, heads: int, **other: Any) -> dict[str, Any]:
    return _qwen("qwen3", hidden, feed_forward, layers, heads, 8, 151936, 40960, head_dim=128, attention_bias=False,
                 **other)


_TIED = {"tie_word_embeddings": True}

SHAPES: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "mistral-7b": _mistral(4096, 14336, 32, 32768, 32768, 1e6),
    "mistral-nemo-12b": _mistral(5120, 14336, 40, 131072, 131072, 1e6),
    "mistral-small-24b": _mistral(5120, 32768, 40, 131072, 32768, 1e8),
    "smollm2-135m": _llama(576, 1536, 30, 9, 3, 49152, 8192, rope_theta=100000.0, **_TIED),
    "tinyllama-1.1b": _llama(2048, 5632, 22, 32, 4, 32000, 2048),
    "llama-2-7b": _llama(4096, 11008, 32, 32, 32, 32000, 4096),
    "llama-2-13b": _llama(5120, 13824, 40, 40, 40, 32000, 4096),
    "llama-2-70b": _llama(8192, 28672, 80, 64, 8, 32000, 4096),
    "llama-3.2-1b": _llama3(2048, 8192, 16, 32, 8, 32.0, head_dim=64, **_TIED),
    "llama-3.2-3b": _llama3(3072, 8192, 28, 24, 8, 32.0, head_dim=128, **_TIED),
    "llama-3.1-8b": _llama3(4096, 14336, 32, 32, 8, 8.0),
    "llama-3.1-70b": _llama3(8192, 28672, 80, 64, 8, 8.0),
    "llama-3.3-70b": _llama3(8192, 28672, 80, 64, 8, 8.0),
    "llama-3.1-405b": _llama3(16384, 53248, 126, 128, 8, 8.0),
    "qwen2.5-0.5b": _qwen2(896, 4864, 24, 14, 2, 151936, **_TIED),
    "qwen2.5-1.5b": _qwen2(1536, 8960, 28, 12, 2, 151936, **_TIED),
    "qwen2.5-3b": _qwen2(2048, 11008, 36, 16, 2, 151936, **_TIED),
    "qwen2.5-7b": _qwen2(3584, 18944, 28, 28, 4),
    "qwen2.5-14b": _qwen2(5120, 13824, 48, 40, 8),
    "qwen2.5-32b": _qwen2(5120, 27648, 64, 40, 8),
    "qwen2.5-72b": _qwen2(8192, 29568, 80, 64, 8),
    "qwen3-0.6b": _qwen3(1024, 3072, 28, 16, **_TIED),
    "qwen3-1.7b": _qwen3(2048, 6144, 28, 16, **_TIED),
    "qwen3-4b": _qwen3(2560, 9728, 36, 32, **_TIED),
    "qwen3-8b": _qwen3(4096, 12288, 36, 32),
    "qwen3-14b": _qwen3(5120, 17408, 40, 40),
    "qwen3-32b": _qwen3(5120, 25600, 64, 64),
})
"""Name to `config.json`."""


def shape_config(name: str) -> dict[str, Any]:
    """A copy of the `config.json` of a built-in shape; `SpecError` for an unknown name."""
    if name not in SHAPES:
        near = difflib.get_close_matches(name, SHAPES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(SHAPES)}"
        raise SpecError(f"model: there is no built-in shape {name!r}; {hint}")
    return dict(SHAPES[name])


def read_config_of(model: str, base: Path) -> dict[str, Any]:
    """The `config.json` of shape:NAME, of `reference`, of a folder (relative to `base`) or of a hub repository.

    Raises `SpecError` when there is no such model, `ModelError` when its configuration cannot be read.
    """
    if model.startswith("shape:"):
        return shape_config(model.removeprefix("shape:"))
    return read_config_file(find_config(model, base))


def read_config_file(path: Path) -> dict[str, Any]:
    """A `config.json`; `ModelError` when it cannot be read."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); give a Hugging Face model folder") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: is not a JSON object; give a Hugging Face model folder")
    return config
