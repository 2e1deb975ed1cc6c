"""stories260K (a real Llama of 260,032 parameters, trained on TinyStories) from llama2.c's files to GGUF and tokens.

llama2.c rotates adjacent pairs, as llama.cpp does for this architecture: nothing is permuted (a Hugging Face
checkpoint, which rotates halves, would need it).
"""

import struct
from pathlib import Path

import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from tests.ggml.tiny import TinyModel, TinyShape, write_gguf

__all__ = ["Stories", "convert", "read_stories"]

_BOS, _BYTES = 1, 3
"""Ids of the start token and of byte 0: what the vocabulary lacks is spelled in bytes."""


def convert(checkpoint: Path, path: Path, kind: GGMLQuantizationType) -> TinyModel:
    """Writes llama2.c's version-0 checkpoint as a GGUF file with its matrices in `kind`."""
    raw = checkpoint.read_bytes()
    hidden, ffn, layers, heads, kv_heads, vocab, context = struct.unpack("<7i", raw[:28])
    values = np.frombuffer(raw, dtype="<f4", offset=28)
    kv_width = hidden // heads * kv_heads
    at = 0

    def take(*shape: int) -> NDArray[np.float32]:
        nonlocal at
        count = int(np.prod(shape))
        part = values[at : at + count].reshape(shape)
        at += count
        return part

    embedding = take(vocab, hidden)
    stacks = {
        "attn_norm": take(layers, hidden),
        "attn_q": take(layers, hidden, hidden),
        "attn_k": take(layers, kv_width, hidden),
        "attn_v": take(layers, kv_width, hidden),
        "attn_output": take(layers, hidden, hidden),
        "ffn_norm": take(layers, hidden),
        "ffn_gate": take(layers, ffn, hidden),
        "ffn_down": take(layers, hidden, ffn),
        "ffn_up": take(layers, ffn, hidden),
    }
    weights = {"token_embd.weight": embedding, "output_norm.weight": take(hidden)}
    for name, stack in stacks.items():
        weights |= {f"blk.{layer}.{name}.weight": stack[layer] for layer in range(layers)}
    # a positive vocabulary size means that the output matrix is the embedding; two rope tables are left over
    assert vocab > 0
    assert len(values) - at == context * hidden // heads
    shape = TinyShape(
        hidden=hidden, layers=layers, ffn=ffn, heads=heads, kv_heads=kv_heads, vocab=vocab, context=context, tied=True
    )
    return write_gguf(path, shape, weights, kind=kind)


class Stories:
    """llama2.c's tokenizer file: pieces with scores, merged greedily by the best score."""

    def __init__(self, path: Path, vocab: int) -> None:
        raw = path.read_bytes()
        self.scores: list[float] = []
        self.pieces: list[bytes] = []
        at = 4  # the longest piece's length comes first
        for _ in range(vocab):
            score, length = struct.unpack_from("<fi", raw, at)
            self.scores.append(score)
            self.pieces.append(raw[at + 8 : at + 8 + length])
            at += 8 + length
        assert at == len(raw)
        self.ids = {piece: number for number, piece in enumerate(self.pieces)}

    def encode(self, text: str) -> NDArray[np.int64]:
        """Ids with the start token and llama2.c's dummy space in front."""
        ids = [self.ids[b" "]] if text else []
        for character in text:
            spelled = character.encode()
            ids += [self.ids[spelled]] if spelled in self.ids else [byte + _BYTES for byte in spelled]
        while True:
            merges = [
                (self.scores[merged], -place, merged)
                for place in range(len(ids) - 1)
                if (merged := self.ids.get(self.pieces[ids[place]] + self.pieces[ids[place + 1]])) is not None
            ]
            if not merges:
                return np.array([_BOS, *ids])
            _, place, merged = max(merges)
            ids[-place : -place + 2] = [merged]


def read_stories(path: Path, count: int) -> list[str]:
    """The first stories of the TinyStories file."""
    return [story.strip() for story in path.read_text(encoding="utf-8").split("<|endoftext|>")[:count]]
