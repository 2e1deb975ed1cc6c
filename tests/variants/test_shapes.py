"""The built-in shapes have the sizes of the published checkpoints, and become GGUF files."""

import math
from pathlib import Path
from typing import Any

import pytest

from quantcheck.ggml.model import Model
from quantcheck.variants.architecture import read_config
from quantcheck.variants.random_gguf import write_random_gguf
from quantcheck.variants.shapes import SHAPES, shape_config
from quantcheck.variants.weight_bytes import weight_bytes

# Numbers of weights, in millions, as the hub counts the published files (a tied head once).
PUBLISHED = {
    "mistral-7b": 7248, "mistral-nemo-12b": 12248, "mistral-small-24b": 23572, "smollm2-135m": 134.5,
    "tinyllama-1.1b": 1100, "llama-2-7b": 6738, "llama-2-13b": 13016, "llama-2-70b": 68977, "llama-3.2-1b": 1236,
    "llama-3.2-3b": 3213, "llama-3.1-8b": 8030, "llama-3.1-70b": 70554, "llama-3.3-70b": 70554,
    "llama-3.1-405b": 405853, "qwen2.5-0.5b": 494, "qwen2.5-1.5b": 1544, "qwen2.5-3b": 3086, "qwen2.5-7b": 7616,
    "qwen2.5-14b": 14770, "qwen2.5-32b": 32764, "qwen2.5-72b": 72706, "qwen3-0.6b": 596, "qwen3-1.7b": 1721,
    "qwen3-4b": 4022, "qwen3-8b": 8191, "qwen3-14b": 14768, "qwen3-32b": 32762,
}


def shrunken(name: str) -> dict[str, Any]:
    """Two layers, heads and widths an eighth or less; families, ratios, biases and ties as they are."""
    config = shape_config(name)
    kv_heads = math.gcd(config["num_attention_heads"], config["num_key_value_heads"])
    group = config["num_attention_heads"] // kv_heads
    made = config | {
        "num_hidden_layers": 2, "num_attention_heads": group, "num_key_value_heads": 1, "hidden_size": 32 * group,
        "intermediate_size": 512, "vocab_size": 256,
    }
    return made | ({"head_dim": 32} if "head_dim" in config else {})


def test_every_shape_has_a_published_figure() -> None:
    assert set(PUBLISHED) == set(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_weights_are_as_many_as_published(name: str) -> None:
    config = shape_config(name)
    assert weight_bytes(config) / 2 / 1e6 == pytest.approx(PUBLISHED[name], rel=1e-3)
    planned = read_config(config, name).tensors()
    assert sum(math.prod(tensor.shape) for tensor in planned) == weight_bytes(config) // 2


@pytest.mark.parametrize("name", SHAPES)
def test_a_shrunken_shape_becomes_a_model(tmp_path: Path, name: str) -> None:
    config = shrunken(name)
    write_random_gguf(config, tmp_path / "model.gguf", "Q4_K_M")
    with Model(tmp_path / "model.gguf") as model:
        scaled = config["hidden_size"] // config["num_attention_heads"] // 2 if "rope_scaling" in config else 0
        assert model.parameters == weight_bytes(config) // 2 + scaled
        assert model.vocab_size == 256
        assert model.context_length == config["max_position_embeddings"]
