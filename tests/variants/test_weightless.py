"""A folder without weights says all that a server needs; its bytes are known from the configuration."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from quantcheck.errors import ModelError, SpecError
from quantcheck.variants.schemes import SCHEMES, quantization_config
from quantcheck.variants.shapes import SHAPES, shape_config
from quantcheck.variants.weight_bytes import matrices, weight_bytes
from quantcheck.variants.weightless import DTYPES, stand_in_tokenizer, weightless_quantization, write_weightless

GIB = 2**30


def config(shape: str, scheme: str) -> dict[str, Any]:
    quantization = quantization_config(scheme)
    return shape_config(shape) | ({"quantization_config": quantization} if quantization else {})


@pytest.mark.parametrize(("shape", "millions"), [
    # As the model cards give them.
    ("mistral-7b", 7248), ("llama-2-7b", 6738), ("llama-2-70b", 68977), ("llama-3.2-1b", 1236), ("llama-3.1-8b", 8030),
    ("llama-3.1-70b", 70554), ("qwen2.5-0.5b", 494), ("qwen2.5-7b", 7616), ("qwen3-8b", 8191), ("qwen3-32b", 32762),
])
def test_parameters_of_the_shapes(shape: str, millions: int) -> None:
    assert weight_bytes(shape_config(shape)) / 2 / 1e6 == pytest.approx(millions, rel=1e-3)


@pytest.mark.parametrize(("scheme", "gib"), [("fp16", 13.51), ("w4a16", 3.87), ("fp8-dynamic", 7.04),
                                             ("w8a8-int8", 7.01)])
def test_bytes_as_vllm_tells_them(scheme: str, gib: float) -> None:
    # `Model loading took ... GiB` of vLLM 0.25.1 on an H200.
    assert weight_bytes(config("mistral-7b", scheme)) / GIB == pytest.approx(gib, rel=0.02)


def test_bytes_worked_by_hand() -> None:
    small = {"model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1,
             "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "torch_dtype": "float16"}
    linear = 256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 512
    rest = 2 * (3 * 256 + 2 * 1000 * 256)
    assert sum(m.parameters for m in matrices(small)) == linear
    assert weight_bytes(small) == 2 * linear + rest
    assert weight_bytes(small | {"quantization_config": quantization_config("w4a16")}) == (
        linear // 2 + linear // 128 * 2 + rest)
    assert weight_bytes(small | {"quantization_config": quantization_config("nvfp4a16")}) == (
        linear // 2 + linear // 16 + rest)
    rows = 256 + 128 + 128 + 256 + 512 + 512 + 256
    assert weight_bytes(small | {"quantization_config": quantization_config("fp8-dynamic")}) == linear + 4 * rows + rest


@given(st.sampled_from(sorted(SHAPES)), st.sampled_from(sorted(set(SCHEMES) - {"fp32"})))
def test_no_format_is_larger_than_the_original(shape: str, scheme: str) -> None:
    assert weight_bytes(config(shape, scheme)) <= weight_bytes(shape_config(shape))


def is_quantized(prefix: str, found: dict[str, Any], fused: dict[str, list[str]]) -> bool:
    """As vLLM 0.25.1 decides it (`is_layer_gptq_quantized`): all parts of a fused layer, or none."""
    *before, last = prefix.split(".")
    parts = {any(name in ".".join([*before, part]) for group in found["modules_in_block_to_quantize"] for name in group)
             for part in fused.get(last, [last])}
    assert len(parts) == 1
    return parts.pop()


def test_gptq_without_weights_names_its_layers() -> None:
    found = weightless_quantization(shape_config("qwen2.5-0.5b"), "gptq")
    assert found is not None
    fused = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
    for layer in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"):
        assert is_quantized(f"model.layers.3.{layer}", found, fused)
    assert not is_quantized("lm_head", found, fused)
    with pytest.raises(ModelError, match="cannot be counted"):
        weightless_quantization({"model_type": "mamba"}, "gptq")
    assert weightless_quantization({"model_type": "mamba"}, "awq") == quantization_config("awq")


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_a_folder(tmp_path: Path, scheme: str) -> None:
    write_weightless(tmp_path / "m", shape_config("qwen2.5-0.5b"), scheme)
    written = json.loads((tmp_path / "m" / "config.json").read_text(encoding="utf-8"))
    expected = quantization_config(scheme)
    if expected and scheme == "gptq":
        expected["modules_in_block_to_quantize"] = [
            ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]]
    assert written.get("quantization_config") == expected
    assert written["torch_dtype"] == DTYPES.get(scheme, "bfloat16")
    assert not list((tmp_path / "m").glob("*.safetensors"))
    tokenizer = Tokenizer.from_file(str(tmp_path / "m" / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 151936


def test_the_tokenizer_goes_both_ways() -> None:
    tokenizer = stand_in_tokenizer(100)
    assert tokenizer.encode("t5 t99\nt0  unknown").ids == [5, 99, 0, 0]
    assert tokenizer.decode([5, 99, 7]) == "t5 t99 t7"


@pytest.mark.parametrize(("name", "message"), [("mistral-7", "did you mean 'mistral-7b'"), ("xyz", "known: mistral")])
def test_an_unknown_shape(name: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        shape_config(name)


def test_an_unknown_scheme() -> None:
    with pytest.raises(SpecError, match="did you mean 'fp8-dynamic'"):
        quantization_config("fp8-dynamik")


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="quantized already"):
        write_weightless(tmp_path / "m", config("mistral-7b", "awq"), "fp16")
    with pytest.raises(ModelError, match="no vocab_size"):
        write_weightless(tmp_path / "m", {"model_type": "llama"}, "fp16")
    with pytest.raises(ModelError, match="'gemma'"):
        weight_bytes({"model_type": "gemma"})
