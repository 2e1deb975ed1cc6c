"""The Llama family's forward pass in numpy float64, straight from a Hugging Face folder's tensors.

Written from the definitions in transformers (`modeling_llama`, `modeling_qwen2`, `modeling_qwen3`): rotations pair
the first half of a head with the second. It shares nothing with the converter that it checks.
"""

import json
from pathlib import Path

import numpy as np
from safetensors import safe_open


def logits(folder: Path, ids: list[int]) -> np.ndarray:
    """Logits [len(ids), vocabulary] of the model in `folder` on one sequence."""
    config = json.loads((folder / "config.json").read_text())
    weights = load(folder)
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    epsilon = config["rms_norm_eps"]

    def norm(values: np.ndarray, name: str) -> np.ndarray:
        scale = 1.0 / np.sqrt((values**2).mean(-1, keepdims=True) + epsilon)
        return values * scale * weights[name + ".weight"]

    def linear(values: np.ndarray, name: str) -> np.ndarray:
        return values @ weights[name + ".weight"].T + weights.get(name + ".bias", 0.0)

    angles = np.arange(len(ids))[:, None] * frequencies(config, size)[None, :]
    cosine, sine = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]

    def rotate(values: np.ndarray) -> np.ndarray:
        first, second = np.split(values, 2, axis=-1)
        return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)

    x = weights["model.embed_tokens.weight"][ids]
    future = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        h = norm(x, layer + "input_layernorm")
        q = linear(h, layer + "self_attn.q_proj").reshape(len(ids), heads, size)
        k = linear(h, layer + "self_attn.k_proj").reshape(len(ids), groups, size)
        v = linear(h, layer + "self_attn.v_proj").reshape(len(ids), groups, size)
        if layer + "self_attn.q_norm.weight" in weights:
            q, k = norm(q, layer + "self_attn.q_norm"), norm(k, layer + "self_attn.k_norm")
        q, k = rotate(q), rotate(k)
        k, v = (np.repeat(a, heads // groups, axis=1) for a in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(size) + future
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v)
        x = x + linear(mixed.reshape(len(ids), heads * size), layer + "self_attn.o_proj")
        h = norm(x, layer + "post_attention_layernorm")
        gate = linear(h, layer + "mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(h, layer + "mlp.up_proj"), layer + "mlp.down_proj")
    head = "model.embed_tokens" if config["tie_word_embeddings"] else "lm_head"
    return norm(x, "model.norm") @ weights[head + ".weight"].T


def load(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of the folder as float64; bfloat16, which numpy has not, by its bits."""
    weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as opened:
            names = list(opened.keys())
            kinds = {n: opened.get_slice(n).get_dtype() for n in names}
        raw = file.read_bytes()
        header = int.from_bytes(raw[:8], "little")
        table = json.loads(raw[8 : 8 + header])
        for name in names:
            start, stop = table[name]["data_offsets"]
            data = raw[8 + header + start : 8 + header + stop]
            if kinds[name] == "BF16":
                values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(data, {"F16": "<f2", "F32": "<f4"}[kinds[name]])
            weights[name] = values.astype(np.float64).reshape(table[name]["shape"])
    return weights


def frequencies(config: dict, size: int) -> np.ndarray:
    """Rotary frequencies [size / 2], with linear or Llama 3 scaling."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = rope.get("rope_theta") or config.get("rope_theta", 10000.0)
    base = 1.0 / theta ** (np.arange(0, size, 2) / size)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "linear":
        return base / rope["factor"]
    if kind != "llama3":
        return base
    out = []
    for frequency in base:
        wave = 2 * np.pi / frequency
        trained = rope["original_max_position_embeddings"]
        if wave < trained / rope["high_freq_factor"]:
            out.append(frequency)
        elif wave > trained / rope["low_freq_factor"]:
            out.append(frequency / rope["factor"])
        else:
            smooth = (trained / wave - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            out.append((1 - smooth) * frequency / rope["factor"] + smooth * frequency)
    return np.array(out)
