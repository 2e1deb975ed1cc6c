"""A tiny Llama with random weights as a GGUF file, written in milliseconds: for every test that needs a model.

The text it makes means nothing; its arithmetic is a Llama's in full (RMS norm, adjacent-pair rope, grouped-query
attention, SwiGLU). `write_tiny` returns the weights that the file really holds (after rounding to the format), so
that an independent forward pass can be compared with llama.cpp's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from quantcheck.ggml.quants import block_size, dequantize, quantize

__all__ = ["END_OF_TEXT", "TinyModel", "TinyShape", "random_weights", "write_gguf", "write_tiny"]

END_OF_TEXT = 256
"""The one control token; ids 0 to 255 are the bytes, 257 is " t", the rest of the vocabulary is filler."""


@dataclass(frozen=True)
class TinyShape:
    hidden: int = 64
    layers: int = 2
    ffn: int = 96
    heads: int = 4
    kv_heads: int = 2
    vocab: int = 272
    context: int = 512
    eps: float = 1e-5
    theta: float = 10000.0
    tied: bool = False

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


@dataclass(frozen=True)
class TinyModel:
    """Where the file is, and what it holds: `weights` are float32 after the file's rounding, by GGUF tensor name."""

    path: Path
    shape: TinyShape
    weights: Mapping[str, NDArray[np.float32]]


def random_weights(shape: TinyShape, seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights whose scale keeps activations near 1 and makes logits that differ clearly."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, gain: float = 1.0) -> NDArray[np.float32]:
        return random.standard_normal((rows, columns), dtype=np.float32) * np.float32(gain / np.sqrt(columns))

    def norm() -> NDArray[np.float32]:
        return (1.0 + 0.1 * random.standard_normal(shape.hidden)).astype(np.float32)

    kv_width = shape.head_dim * shape.kv_heads
    weights = {"token_embd.weight": matrix(shape.vocab, shape.hidden, 8.0 if not shape.tied else 2.0)}
    for layer in range(shape.layers):
        weights |= {
            f"blk.{layer}.attn_norm.weight": norm(),
            f"blk.{layer}.attn_q.weight": matrix(shape.hidden, shape.hidden),
            f"blk.{layer}.attn_k.weight": matrix(kv_width, shape.hidden),
            f"blk.{layer}.attn_v.weight": matrix(kv_width, shape.hidden),
            f"blk.{layer}.attn_output.weight": matrix(shape.hidden, shape.hidden),
            f"blk.{layer}.ffn_norm.weight": norm(),
            f"blk.{layer}.ffn_gate.weight": matrix(shape.ffn, shape.hidden),
            f"blk.{layer}.ffn_up.weight": matrix(shape.ffn, shape.hidden),
            f"blk.{layer}.ffn_down.weight": matrix(shape.hidden, shape.ffn),
        }
    weights["output_norm.weight"] = norm()
    if not shape.tied:
        weights["output.weight"] = matrix(shape.vocab, shape.hidden, 2.0)
    return weights


def write_tiny(
    path: Path, shape: TinyShape | None = None, *, seed: int = 0, kind: GGMLQuantizationType = GGMLQuantizationType.F16
) -> TinyModel:
    """Writes a random model of `shape` with its matrices in `kind`; the same seed gives the same file."""
    shape = shape or TinyShape()
    return write_gguf(path, shape, random_weights(shape, seed), kind=kind)


def write_gguf(
    path: Path,
    shape: TinyShape,
    weights: Mapping[str, NDArray[np.float32]],
    *,
    kind: GGMLQuantizationType = GGMLQuantizationType.F16,
) -> TinyModel:
    """Writes `weights` (GGUF names, [out, in]) as a Llama: matrices in `kind`, norms in F32.

    A matrix whose rows are not whole blocks of `kind` is kept in F16, as `llama-quantize` does.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.eps)
    writer.add_rope_freq_base(shape.theta)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_vocab_size(shape.vocab)
    _add_tokenizer(writer, shape.vocab)
    held: dict[str, NDArray[np.float32]] = {}
    for name, values in weights.items():
        if values.ndim == 1 or kind == GGMLQuantizationType.F32:
            writer.add_tensor(name, values)
            held[name] = values
        else:
            fits = values.shape[1] % block_size(kind) == 0
            held_kind = kind if fits else GGMLQuantizationType.F16
            blocks = quantize(held_kind, values)
            raw = blocks.view(np.float16) if held_kind == GGMLQuantizationType.F16 else blocks
            writer.add_tensor(name, raw, raw_dtype=held_kind)
            held[name] = dequantize(held_kind, blocks)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return TinyModel(path, shape, held)


def _add_tokenizer(writer: gguf.GGUFWriter, vocab: int) -> None:
    """A byte-level BPE vocabulary: 256 bytes in GPT-2's printable spelling, a control token, one merge, fillers."""
    if vocab < END_OF_TEXT + 2:
        # Too small for bytes: an opaque vocabulary, for token ids only.
        writer.add_tokenizer_model("no_vocab")
        return
    tokens = [_byte_spelling(byte) for byte in range(256)] + ["<|endoftext|>", _byte_spelling(32) + "t"]
    kinds = [gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL, gguf.TokenType.NORMAL]
    tokens += [f"<filler{i}>" for i in range(len(tokens), vocab)]
    kinds += [gguf.TokenType.UNUSED] * (vocab - len(kinds))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([_byte_spelling(32) + " t"])  # llama.cpp refuses a list without any
    writer.add_bos_token_id(END_OF_TEXT)
    writer.add_eos_token_id(END_OF_TEXT)
    writer.add_add_bos_token(False)


def _byte_spelling(byte: int) -> str:
    """GPT-2's printable character for a byte: itself where it is printable Latin-1, else shifted above 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in printable:
        return chr(byte)
    return chr(256 + sum(1 for other in range(byte) if other not in printable))
