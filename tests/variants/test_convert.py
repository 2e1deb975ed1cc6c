"""Hugging Face folders to F16 GGUF: what llama.cpp computes from the file against an independent forward pass."""

import json
import os
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcheck.errors import ModelError
from quantcheck.ggml.model import Context, Model
from quantcheck.variants.architecture import read_architecture
from quantcheck.variants.convert import convert, interleave
from quantcheck.variants.gguf_file import GgufFile
from tests.variants import folders
from tests.variants.forward import logits

IDS = [5, 17, 300, 41, 41, 2, 399, 128, 77, 6, 210, 33]

LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

# What each case changes in the configuration, and which linear layers have biases.
CASES = {
    "llama": ("llama", {}, ()),
    "llama tied": ("llama", {"tie_word_embeddings": True}, ()),
    "llama without groups": ("llama", {"num_key_value_heads": 4}, ()),
    "llama with wide heads": ("llama", {"head_dim": 32}, ()),
    "llama with biases": (
        "llama",
        {"attention_bias": True, "mlp_bias": True},
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    ),
    "llama 3 rope": ("llama", {"rope_scaling": LLAMA_3_ROPE, "rope_theta": 500.0}, ()),
    "llama linear rope": ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}, ()),
    "llama of transformers 5": (
        "llama",
        {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}},
        (),
    ),
    "mistral": ("mistral", {"sliding_window": 128, "head_dim": 16}, ()),
    "qwen2": ("qwen2", {"use_sliding_window": False, "rope_theta": 1e6}, ("q_proj", "k_proj", "v_proj")),
    "qwen2 tied": ("qwen2", {"tie_word_embeddings": True}, ("q_proj", "k_proj", "v_proj")),
    "qwen3": ("qwen3", {"head_dim": 32, "attention_bias": False}, ()),
    "qwen3 tied": ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}, ()),
}


def half_precise(weights):
    """Matrices rounded to float16 beforehand, so that the conversion itself loses nothing."""
    return {n: v.astype(np.float16).astype(np.float32) if v.ndim > 1 else v for n, v in weights.items()}


def computed(path, ids):
    """Logits [len(ids), vocabulary] by llama.cpp, attention in float32."""
    with Model(path) as model, Context(model, length=64, batch=64, flash_attention=False) as context:
        count = len(ids)
        out = context.decode(
            np.array(ids, np.int32), np.arange(count, dtype=np.int32), np.zeros(count, np.int32), np.ones(count, bool)
        )
        return np.array(out)


def make(folder, kind="llama", changes=None, biases=(), **how):
    config = folders.config(kind, **(changes or {}))
    weights = half_precise(folders.tensors(config, biases=biases))
    return folders.save(folder, config, weights, folders.byte_level(), **how)


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_the_hugging_face_model(tmp_path, case):
    folder = make(tmp_path / "hf", *CASES[case])

    convert(folder, tmp_path / "model.gguf")

    expected = logits(folder, IDS)
    found = computed(tmp_path / "model.gguf", IDS)
    assert found.shape == expected.shape
    # llama.cpp multiplies F16 matrices with activations rounded to F16, and keeps keys and values in F16.
    assert np.abs(found - expected).max() < 0.008 * expected.std()


def test_the_comparison_would_see_a_wrong_row_order(tmp_path):
    """Without the reordering of Q and K, the very same check fails by far."""
    folder = make(tmp_path / "hf", "llama")
    weights = folders.tensors(folders.config())
    for name, values in weights.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            weights[name] = interleave(values, values.shape[0] // 16)
    wrong = folders.save(tmp_path / "wrong", folders.config(), half_precise(weights), folders.byte_level())
    convert(wrong, tmp_path / "model.gguf")
    expected = logits(folder, IDS)
    assert np.abs(computed(tmp_path / "model.gguf", IDS) - expected).max() > 0.2 * expected.std()


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_every_stored_precision_is_read(tmp_path, kind):
    folder = make(tmp_path / "hf", stored_as=kind)
    convert(folder, tmp_path / "model.gguf")
    expected = logits(folder, IDS)
    assert np.abs(computed(tmp_path / "model.gguf", IDS) - expected).max() < 0.008 * expected.std()


def test_shards_give_the_same_file_as_one(tmp_path):
    convert(make(tmp_path / "one"), tmp_path / "one.gguf")
    convert(make(tmp_path / "three", shards=3), tmp_path / "three.gguf")
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "three.gguf").read_bytes()


def test_matrices_are_f16_vectors_f32_and_keys_are_complete(tmp_path):
    convert(make(tmp_path / "hf", "qwen2", {}, ("q_proj", "k_proj", "v_proj")), tmp_path / "model.gguf")
    file = GgufFile(tmp_path / "model.gguf")
    assert {t.type.name for t in file.tensors if len(t.shape) > 1} == {"F16"}
    assert {t.type.name for t in file.tensors if len(t.shape) == 1} == {"F32"}
    assert file.value("general.file_type") == 1
    assert file.value("qwen2.rope.freq_base") == 10000.0
    assert (file.shape.layers, file.shape.heads, file.shape.kv_heads) == (2, 4, 2)


def test_mistrals_window_bounds_the_context(tmp_path):
    convert(make(tmp_path / "hf", "mistral", {"sliding_window": 128}), tmp_path / "model.gguf")
    assert GgufFile(tmp_path / "model.gguf").value("llama.context_length") == 128


@given(heads=st.integers(1, 5), half=st.integers(1, 8), columns=st.integers(1, 3))
def test_interleaving_pairs_the_halves_of_each_head(heads, half, columns):
    rows = np.arange(heads * half * 2 * columns).reshape(-1, columns)
    out = interleave(rows, heads).reshape(heads, half, 2, columns)
    whole = rows.reshape(heads, 2, half, columns)
    assert (out[:, :, 0] == whole[:, 0]).all()
    assert (out[:, :, 1] == whole[:, 1]).all()


REFUSED = {
    "another family": ({"model_type": "gpt_neox"}, "model_type 'gpt_neox' cannot be converted"),
    "mixture of experts": ({"model_type": "mixtral"}, "model_type 'mixtral' cannot be converted"),
    "already quantized": ({"quantization_config": {"quant_method": "awq"}}, "already quantized"),
    "another activation": ({"hidden_act": "gelu"}, "activation 'gelu' is not supported"),
    "dynamic rope": ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope scaling 'dynamic'"),
    "half a llama3 rope": (
        {"rope_scaling": {"rope_type": "llama3", "factor": 2.0}},
        "low_freq_factor of the rope scaling must be a positive number",
    ),
    "a llama3 rope upside down": (
        {"rope_scaling": LLAMA_3_ROPE | {"high_freq_factor": 0.5}},
        "low_freq_factor of the rope scaling must be below",
    ),
    "no base frequency": ({"rope_theta": -1}, "rope_theta must be a positive number, not -1"),
    "odd yarn": (
        {"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "mscale": 0.7}},
        "rope scaling with mscale is not supported",
    ),
    "partial rope": ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary"),
    "llama3 rope for qwen": ({"model_type": "qwen2", "rope_scaling": LLAMA_3_ROPE}, "is not supported for qwen2"),
    "sliding window": ({"model_type": "qwen2", "use_sliding_window": True}, "sliding-window"),
    "heads that do not divide": ({"num_key_value_heads": 3}, "cannot be"),
    "a size that is no number": ({"hidden_size": "64"}, "hidden_size must be a positive whole number"),
    "a missing size": ({"intermediate_size": None}, "intermediate_size must be a positive whole number"),
    "more layers than stored": ({"num_hidden_layers": 3}, "misses 9 tensors, the first is model.layers.2"),
    "fewer layers than stored": ({"num_hidden_layers": 1}, "holds model.layers.1."),
    "another width": ({"intermediate_size": 128}, "has shape [96, 64], config.json means [128, 64]"),
    "untied without an output": ({}, "the first is lm_head.weight"),
    "a vocabulary too small": ({"vocab_size": 100}, "shape"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_converted_is_refused_in_one_line(tmp_path, case):
    changes, message = REFUSED[case]
    folder = make(tmp_path / "hf", changes={"tie_word_embeddings": True} if "untied" in case else {})
    (folder / "config.json").write_text(json.dumps(folders.config(**{"kind": "llama"} | changes)))
    with pytest.raises(ModelError) as caught:
        convert(folder, tmp_path / "model.gguf")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.gguf").exists()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from([*LLAMA_3_ROPE, "type"]), inner, max_size=4),
    max_leaves=5,
)
KEYS = [*folders.config(), "head_dim", "rope_scaling", "rope_parameters", "quantization_config", "sliding_window"]


@settings(deadline=None, max_examples=300)
@given(
    kind=st.sampled_from(["llama", "mistral", "qwen2", "qwen3"]),
    changes=st.dictionaries(st.sampled_from(KEYS), ANYTHING),
)
def test_no_configuration_whatever_is_more_than_refused(kind, changes):
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(folders.config(kind) | changes))
        try:
            architecture = read_architecture(folder)
        except ModelError as error:
            assert "\n" not in str(error)  # (whether it is refused depends on the changes)
            return
    assert architecture.heads % architecture.kv_heads == 0
    factors = architecture.rope_factors()
    assert factors is None or np.isfinite(factors).all()


def cut(folder):
    file = folder / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)


def damage_header(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:8] + b"}" + file.read_bytes()[9:])


def huge_header(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")


def lose_shard(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "lost.safetensors"}}')


def damage_index(folder):
    (folder / "model.safetensors.index.json").write_text("[]")


def only_pickles(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def integers(folder):
    folders.save_file({"model.norm.weight": np.zeros(64, np.int8)}, folder / "model.safetensors")


def too_large(folder):
    weights = folders.tensors(folders.config())
    weights["lm_head.weight"][3, 5] = 70000.0
    folders.save_file(weights, folder / "model.safetensors")


def not_a_number(folder):
    weights = folders.tensors(folders.config())
    weights["model.norm.weight"][0] = np.nan
    folders.save_file(weights, folder / "model.safetensors")


def broken_config(folder):
    (folder / "config.json").write_text("{")


def no_config(folder):
    (folder / "config.json").unlink()


DAMAGED = [
    (cut, "damaged or cut off"),
    (damage_header, "damaged or cut off"),
    (huge_header, "damaged or cut off"),
    (lose_shard, "misses 1 of 1 weight files, the first is lost.safetensors"),
    (damage_index, "is damaged"),
    (only_pickles, "pickles"),
    (integers, "only F32, F16 and BF16"),
    (too_large, "lm_head.weight"),
    (not_a_number, "model.norm.weight"),
    (broken_config, "not valid JSON"),
    (no_config, "no readable config.json"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGED, ids=[d.__name__ for d, _ in DAMAGED])
def test_damaged_folders_are_refused_in_one_line(tmp_path, damage, message):
    folder = make(tmp_path / "hf")
    damage(folder)
    with pytest.raises(ModelError) as caught:
        convert(folder, tmp_path / "model.gguf")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
