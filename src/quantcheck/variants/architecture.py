"""What a Hugging Face `config.json` of the Llama family says, in GGUF's terms: keys and tensors.

Sources: the configuration classes of transformers (their defaults), and llama.cpp's loaders of the
architectures llama, qwen2 and qwen3 for which tensors they take.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, RopeScalingType

from quantcheck.errors import ModelError

__all__ = ["FAMILIES", "Architecture", "Planned", "read_architecture", "read_config"]

FAMILIES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""`model_type` of config.json to architecture in GGUF. Mistral's is Llama's with other sizes."""

_IGNORED = ("rotary_emb.inv_freq",)


@dataclass(frozen=True)
class Planned:
    """One tensor to write: its GGUF name, where it comes from, its shape, and how Q and K rows are reordered."""

    name: str
    source: str
    shape: tuple[int, ...]
    rope_heads: int = 0  # heads whose rows go from halves to adjacent pairs; 0: rows stay


@dataclass(frozen=True)
class Architecture:
    """Sizes and constants of one model; `origin` is what messages call it: its folder, or another name."""

    origin: str
    family: str
    name: str
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int
    epsilon: float
    tied: bool
    rope_theta: float
    rope: Mapping[str, Any]
    attention_bias: bool
    mlp_bias: bool

    def describe(self, writer: GGUFWriter) -> None:
        """Write the architecture's metadata keys."""
        writer.add_block_count(self.layers)
        writer.add_context_length(self.context)
        writer.add_embedding_length(self.hidden)
        writer.add_feed_forward_length(self.feed_forward)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.kv_heads)
        writer.add_key_length(self.head_size)
        writer.add_value_length(self.head_size)
        writer.add_rope_dimension_count(self.head_size)
        writer.add_rope_freq_base(self.rope_theta)
        writer.add_layer_norm_rms_eps(self.epsilon)
        writer.add_vocab_size(self.vocabulary)
        kind = self.rope["rope_type"]
        if kind in ("linear", "yarn"):
            writer.add_rope_scaling_type(RopeScalingType(kind))
            writer.add_rope_scaling_factor(float(self.rope["factor"]))
        if kind == "yarn":
            writer.add_rope_scaling_orig_ctx_len(int(self.rope["original_max_position_embeddings"]))

    def rope_factors(self) -> "np.ndarray[Any, np.dtype[np.float32]] | None":
        """Llama 3's divisors of the rotary frequencies, float32 [head_size / 2], or None without such scaling.

        Long waves are stretched by `factor`, short ones kept, those between interpolated (as in transformers'
        `_compute_llama3_parameters`).
        """
        if self.rope["rope_type"] != "llama3":
            return None
        factor = float(self.rope["factor"])
        low, high = float(self.rope["low_freq_factor"]), float(self.rope["high_freq_factor"])
        trained = float(self.rope["original_max_position_embeddings"])
        turns = np.arange(0, self.head_size, 2, dtype=np.float64) / self.head_size
        waves = 2 * math.pi * self.rope_theta**turns
        smooth = np.clip((trained / waves - low) / (high - low), 0.0, 1.0)
        return (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)

    def tensors(self) -> list[Planned]:
        """The tensors that a checkpoint of this configuration holds, in the order of a GGUF file.

        Raises ModelError when llama.cpp has no place for one of them.
        """
        if self.family == "qwen3" and self.attention_bias:
            raise ModelError(f"{self.origin}: a bias of the attention's output is not supported for qwen3")
        optional = {"ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"} if self.mlp_bias else set()
        return [tensor for tensor, needed in self._all() if needed or tensor.name.split(".", 2)[-1] in optional]

    def plan(self, available: set[str]) -> list[Planned]:
        """The tensors to write, in order; ModelError when one is missing or has no place in the architecture."""
        planned = [tensor for tensor, required in self._all() if required or tensor.source in available]
        missing = [p.source for p in planned if p.source not in available]
        if missing:
            raise ModelError(f"{self.origin} misses {len(missing)} tensors, the first is {missing[0]}")
        known = {p.source for p in planned} | ({"lm_head.weight"} if self.tied else set())
        extra = sorted(n for n in available - known if not n.endswith(_IGNORED))
        if extra:
            raise ModelError(f"{self.origin} holds {extra[0]}, which the architecture {self.family} does not know")
        return planned

    def _all(self) -> Iterator[tuple[Planned, bool]]:
        """All tensors that the architecture knows, and whether it needs them."""
        embedding = (self.vocabulary, self.hidden)
        yield Planned("token_embd.weight", "model.embed_tokens.weight", embedding), True
        yield Planned("output_norm.weight", "model.norm.weight", (self.hidden,)), True
        if not self.tied:
            yield Planned("output.weight", "lm_head.weight", embedding), True
        for i in range(self.layers):
            yield from self._layer(i)

    def _layer(self, i: int) -> list[tuple[Planned, bool]]:
        to, of = f"blk.{i}.", f"model.layers.{i}."
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        llama = self.family == "llama"
        biases = self.attention_bias

        def one(name: str, source: str, *shape: int, heads: int = 0, required: bool = True) -> tuple[Planned, bool]:
            return Planned(to + name, of + source, shape, heads if llama else 0), required

        tensors = [
            one("attn_norm.weight", "input_layernorm.weight", self.hidden),
            one("attn_q.weight", "self_attn.q_proj.weight", queries, self.hidden, heads=self.heads),
            one("attn_k.weight", "self_attn.k_proj.weight", keys, self.hidden, heads=self.kv_heads),
            one("attn_v.weight", "self_attn.v_proj.weight", keys, self.hidden),
            one("attn_output.weight", "self_attn.o_proj.weight", self.hidden, queries),
            one("ffn_norm.weight", "post_attention_layernorm.weight", self.hidden),
            one("ffn_gate.weight", "mlp.gate_proj.weight", self.feed_forward, self.hidden),
            one("ffn_up.weight", "mlp.up_proj.weight", self.feed_forward, self.hidden),
            one("ffn_down.weight", "mlp.down_proj.weight", self.hidden, self.feed_forward),
            one("attn_q.bias", "self_attn.q_proj.bias", queries, heads=self.heads, required=biases),
            one("attn_k.bias", "self_attn.k_proj.bias", keys, heads=self.kv_heads, required=biases),
            one("attn_v.bias", "self_attn.v_proj.bias", keys, required=biases),
        ]
        if llama:
            tensors += [
                one("attn_output.bias", "self_attn.o_proj.bias", self.hidden, required=biases),
                one("ffn_gate.bias", "mlp.gate_proj.bias", self.feed_forward, required=False),
                one("ffn_up.bias", "mlp.up_proj.bias", self.feed_forward, required=False),
                one("ffn_down.bias", "mlp.down_proj.bias", self.hidden, required=False),
            ]
        if self.family == "qwen3":
            tensors += [
                one("attn_q_norm.weight", "self_attn.q_norm.weight", self.head_size),
                one("attn_k_norm.weight", "self_attn.k_norm.weight", self.head_size),
            ]
        return tensors


def _rope(config: Mapping[str, Any], family: str, where: str) -> tuple[float, dict[str, Any]]:
    """Base frequency and scaling, from `rope_scaling` (transformers 4) or `rope_parameters` (5)."""
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise ModelError(f"{where}: the rope scaling is not an object")
    rope = dict(given)
    kind = rope["rope_type"] = str(rope.get("rope_type", rope.get("type", "default")))
    theta = _positive(rope.get("rope_theta") or config.get("rope_theta") or 10000.0, "rope_theta", where)
    needs = {
        "default": (),
        "linear": ("factor",),
        "yarn": ("factor", "original_max_position_embeddings"),
        "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    }
    if kind not in needs or (kind == "llama3" and family != "llama"):
        raise ModelError(f"{where}: rope scaling {kind!r} is not supported for {family}")
    if kind == "yarn":
        rope.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
    for key in needs[kind]:
        rope[key] = _positive(rope.get(key), f"{key} of the rope scaling", where)
    if kind == "llama3" and rope["low_freq_factor"] >= rope["high_freq_factor"]:
        raise ModelError(f"{where}: low_freq_factor of the rope scaling must be below high_freq_factor")
    known = {*needs[kind], "rope_type", "type", "rope_theta", "partial_rotary_factor"}
    unknown = sorted(k for k, v in rope.items() if k not in known and v is not None) if kind != "default" else []
    if rope.get("partial_rotary_factor") not in (None, 1):
        unknown.append("partial_rotary_factor")
    if unknown:
        raise ModelError(f"{where}: rope scaling with {unknown[0]} is not supported")
    return theta, rope


def _positive(value: Any, key: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ModelError(f"{where}: {key} must be a positive number, not {value!r}")
    return float(value)


def read_architecture(folder: Path) -> Architecture:
    """Read `config.json` of a Hugging Face folder; ModelError when it is of another family or inconsistent."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{folder} is not a Hugging Face model folder: no readable config.json") from error
    except ValueError as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not a JSON object")
    return read_config(config, str(path), origin=str(folder))


def read_config(config: Mapping[str, Any], where: str, *, origin: str | None = None) -> Architecture:
    """The architecture that a `config.json` describes; ModelError when it is of another family or inconsistent.

    Messages name the configuration `where` and the model `origin` (default: the same).
    """
    kind = str(config.get("model_type"))
    family = FAMILIES.get(kind)
    if family is None:
        raise ModelError(f"{where}: model_type {kind!r} cannot be converted (only {', '.join(FAMILIES)}): give a GGUF")
    if config.get("quantization_config"):
        raise ModelError(f"{where}: these weights are already quantized: give the original model")

    def size(key: str, default: int | None = None) -> int:
        value = config.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ModelError(f"{where}: {key} must be a positive whole number, not {value!r}")
        return value

    hidden, heads = size("hidden_size"), size("num_attention_heads")
    head_size = size("head_dim", hidden // heads)
    kv_heads = size("num_key_value_heads", heads)
    if heads % kv_heads or head_size % 2 or (family == "qwen2" and head_size * heads != hidden):
        raise ModelError(f"{where}: {heads} heads of {head_size} with {kv_heads} key/value heads cannot be")
    if config.get("hidden_act", "silu") != "silu":
        raise ModelError(f"{where}: activation {config['hidden_act']!r} is not supported (only silu)")
    if config.get("use_sliding_window"):
        raise ModelError(f"{where}: sliding-window attention in some layers is not supported")
    context = size("max_position_embeddings", 2048)
    if kind == "mistral" and config.get("sliding_window"):
        # Up to the window, sliding and full attention are the same; llama.cpp does the latter.
        context = min(context, size("sliding_window"))
    theta, rope = _rope(config, family, where)
    return Architecture(
        origin=origin or where,
        family=family,
        name=kind,
        layers=size("num_hidden_layers"),
        hidden=hidden,
        feed_forward=size("intermediate_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        vocabulary=size("vocab_size"),
        context=context,
        epsilon=_positive(config.get("rms_norm_eps", 1e-6), "rms_norm_eps", where),
        tied=bool(config.get("tie_word_embeddings", False)),
        rope_theta=theta,
        rope=rope,
        # transformers gives Qwen2 its biases whatever the configuration says.
        attention_bias=kind == "qwen2" or bool(config.get("attention_bias")),
        mlp_bias=family == "llama" and bool(config.get("mlp_bias")),
    )
