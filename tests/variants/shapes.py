"""Models as the mixes see them: names and shapes of tensors, without values."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

from quantcheck.variants.gguf_file import write_gguf
from quantcheck.variants.mix import ModelShape, Tensor

F16, F32 = GGMLQuantizationType.F16, GGMLQuantizationType.F32


class Shape:
    """A model: its tensors are those that a conversion of such a model writes."""

    def __init__(
        self,
        family: str,
        layers: int,
        heads: int,
        kv_heads: int,
        *,
        hidden: int = 256,
        feed_forward: int = 256,
        vocabulary: int = 32,
        tied: bool = False,
        biases: bool = False,
        experts: int = 0,
    ) -> None:
        self.model = ModelShape(family, layers, heads, kv_heads, experts)
        self.hidden, self.feed_forward, self.vocabulary = hidden, feed_forward, vocabulary
        self.head_size = hidden // heads
        keys = self.head_size * kv_heads
        self.tensors = [Tensor("token_embd.weight", (vocabulary, hidden), F16), _vector("output_norm.weight", hidden)]
        if not tied:
            self.tensors.append(Tensor("output.weight", (vocabulary, hidden), F16))
        for i in range(layers):
            b = f"blk.{i}."
            self.tensors += [
                _vector(b + "attn_norm.weight", hidden),
                Tensor(b + "attn_q.weight", (hidden, hidden), F16),
                Tensor(b + "attn_k.weight", (keys, hidden), F16),
                Tensor(b + "attn_v.weight", (keys, hidden), F16),
                Tensor(b + "attn_output.weight", (hidden, hidden), F16),
                _vector(b + "ffn_norm.weight", hidden),
            ]
            if biases:
                self.tensors += [_vector(f"{b}attn_{x}.bias", n) for x, n in (("q", hidden), ("k", keys), ("v", keys))]
            if family == "qwen3":
                self.tensors += [_vector(f"{b}attn_{x}_norm.weight", self.head_size) for x in "qk"]
            up, down = (feed_forward, hidden), (hidden, feed_forward)
            if experts:
                self.tensors += [
                    Tensor(b + "ffn_gate_inp.weight", (experts, hidden), F32),
                    Tensor(b + "ffn_gate_exps.weight", (experts, *up), F16),
                    Tensor(b + "ffn_up_exps.weight", (experts, *up), F16),
                    Tensor(b + "ffn_down_exps.weight", (experts, *down), F16),
                ]
            else:
                self.tensors += [
                    Tensor(b + "ffn_gate.weight", up, F16),
                    Tensor(b + "ffn_up.weight", up, F16),
                    Tensor(b + "ffn_down.weight", down, F16),
                ]

    def describe(self, writer: GGUFWriter) -> None:
        """The model's metadata, without a vocabulary."""
        writer.add_file_type(1)
        writer.add_quantization_version(2)
        writer.add_block_count(self.model.layers)
        writer.add_context_length(128)
        writer.add_embedding_length(self.hidden)
        writer.add_feed_forward_length(self.feed_forward)
        writer.add_head_count(self.model.heads)
        writer.add_head_count_kv(self.model.kv_heads)
        writer.add_rope_dimension_count(self.head_size)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_vocab_size(self.vocabulary)
        if self.model.experts:
            writer.add_expert_count(self.model.experts)
            writer.add_expert_used_count(2)
        writer.add_tokenizer_model("none")

    def write(self, path: Path, fill: Callable[[Tensor], np.ndarray] | None = None) -> None:
        """The model as a GGUF file; all weights zero unless `fill` gives them as float32."""

        def load(tensor: Tensor) -> np.ndarray:
            values = np.zeros(tensor.values, np.float32) if fill is None else fill(tensor).reshape(-1)
            return values.astype(np.float16 if tensor.type is F16 else np.float32).view(np.uint8)

        jobs = [(t, lambda tensor=t: load(tensor)) for t in self.tensors]
        write_gguf(path, self.model.architecture, self.describe, jobs)


def _vector(name: str, length: int) -> Tensor:
    return Tensor(name, (length,), F32)


SHAPES = {
    "llama-8-layers-tied": Shape("llama", 8, 8, 4, feed_forward=768, tied=True),
    "llama-32-layers-4-queries-per-key": Shape("llama", 32, 8, 2),
    "llama-80-layers-8-queries-per-key": Shape("llama", 80, 8, 1),
    "llama-80-layers-no-groups": Shape("llama", 80, 8, 8),
    "llama-30-layers-3-queries-per-key": Shape("llama", 30, 12, 4, hidden=768),
    "llama-2-layers-one-token": Shape("llama", 2, 8, 4, vocabulary=1),
    "mixtral-32-layers-8-experts": Shape("llama", 32, 8, 2, experts=8),
    "llama-8-layers-4-experts": Shape("llama", 8, 8, 2, experts=4),
    "qwen2-24-layers-biases": Shape("qwen2", 24, 4, 2, biases=True),
    "qwen2-80-layers-8-queries-per-key": Shape("qwen2", 80, 8, 1, biases=True),
    "qwen2-12-layers-odd-widths-tied": Shape("qwen2", 12, 5, 1, hidden=160, feed_forward=336, biases=True, tied=True),
    "llama-10-layers-odd-widths": Shape("llama", 10, 7, 1, hidden=896, feed_forward=512),
    "qwen3-28-layers-tied": Shape("qwen3", 28, 8, 4, tied=True),
    "qwen3-36-layers-4-queries-per-key": Shape("qwen3", 36, 8, 2),
}
"""One shape for each branch of the mixes; `expected/` holds what llama-quantize makes of each."""

SMALL = Shape("llama", 2, 8, 4, feed_forward=512, vocabulary=64)
"""A model small enough to be quantized to the whole ladder in a second."""


def small_weights(tensor: Tensor) -> np.ndarray:
    """Weights by formula, the same on every machine: about normal (a sum of four uniform numbers), exact in float16."""
    start = sum(tensor.name.encode()) * 7919
    count = np.arange(start, start + 4 * tensor.values, dtype=np.uint64).reshape(-1, 4)
    mixed = (count * np.uint64(2654435761) + np.uint64(12345)) % np.uint64(2**32)
    mixed = (mixed ^ (mixed >> np.uint64(15))) * np.uint64(2246822519) % np.uint64(2**32) >> np.uint64(24)
    return ((mixed.sum(axis=1).astype(np.float32) - 510) / 4096).astype(np.float32)


def small_imatrix() -> dict[str, np.ndarray]:
    """Importances by formula for the matrices of SMALL's layers, spread over two orders of magnitude."""
    matrices = [t for t in SMALL.tensors if t.name.startswith("blk.") and len(t.shape) == 2]
    return {t.name: (2.0 ** (np.arange(t.columns) % 8)).astype(np.float32) for t in matrices}
