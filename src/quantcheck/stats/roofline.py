"""Bytes moved and arithmetic done by a decoder-only transformer, per step of decoding and of prefill.

Counted: the weights of all layers and of the output head, read once a step however many tokens it holds; one row of
the embedding table per token; keys and values, read for every token of context and written once. Not counted:
activations, which stay in caches, and the arithmetic of norms, rotation and softmax. So both figures are lower bounds
on what an engine does, and the time from them (Williams, Waterman and Patterson 2009, "Roofline") is the least that
a device could take.

Arithmetic is 2 FLOP per weight of a matrix product and 4 x context x heads x head size per layer for attention.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

__all__ = ["FORMATS", "Ceiling", "Format", "Shape", "Weights", "Work", "decode_step", "prefill_step"]


@dataclass(frozen=True, slots=True)
class Format:
    """How a matrix of weights is stored: `bits` a value, and per group of `group` values of a row (None: per row) a
    scale of `scale_bits` and a zero point of `zero_bits`."""

    bits: float
    group: int | None = None
    scale_bits: int = 0
    zero_bits: int = 0

    def bytes(self, rows: int, columns: int) -> float:
        """Of a matrix of `rows` x `columns` (out x in)."""
        groups = rows if self.group is None else rows * columns / self.group
        return (rows * columns * self.bits + groups * (self.scale_bits + self.zero_bits)) / 8


FORMATS: Mapping[str, Format] = {
    "16 bit": Format(16),
    "8 bit": Format(8, scale_bits=32),
    "4 bit, groups of 128": Format(4, group=128, scale_bits=16, zero_bits=4),
}
"""FP16 and BF16; FP8 and INT8 with a scale per output channel; AWQ and GPTQ, whose zero points are packed too."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a Llama-like model: grouped-query attention, a gated feed-forward of three matrices."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool = False

    @classmethod
    def read(cls, values: Mapping[str, object]) -> Self | None:
        """From a recipe's `architecture`; None when a size is missing or is no positive whole number."""
        sizes = {}
        for name in ("layers", "hidden", "feed_forward", "heads", "kv_heads", "head_size", "vocabulary"):
            size = values.get(name)
            if not isinstance(size, int) or size < 1:
                return None
            sizes[name] = size
        return cls(**sizes, tied=bool(values.get("tied")))

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of the matrices of one layer: q, k, v, o, gate, up, down."""
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return ((queries, self.hidden), (keys, self.hidden), (keys, self.hidden), (self.hidden, queries),
                (self.feed_forward, self.hidden), (self.feed_forward, self.hidden), (self.hidden, self.feed_forward))

    @property
    def layer_parameters(self) -> int:
        """Weights in the matrices of all layers."""
        return self.layers * sum(rows * columns for rows, columns in self.matrices)

    @property
    def table_parameters(self) -> int:
        """Weights of the embedding table, and of the output head."""
        return self.vocabulary * self.hidden


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of a variant's weights by how they are read.

    `layers`: all matrices and norms, whole each step. `head`: the output head, whole each step; with tied weights it
    is the embedding table. `row`: one row of the embedding table.
    """

    layers: float
    head: float
    row: float

    @property
    def step(self) -> float:
        """Read once a step."""
        return self.layers + self.head

    @classmethod
    def of(cls, shape: Shape, format: Format, *, wide: int = 2) -> Self:
        """Layers in `format`; head, embedding and norms in `wide` bytes a value, as quantizers for GPUs leave them."""
        layers = shape.layers * sum(format.bytes(rows, columns) for rows, columns in shape.matrices)
        norms = (2 * shape.layers + 1) * shape.hidden * wide
        return cls(layers + norms, float(shape.table_parameters * wide), float(shape.hidden * wide))


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a device can do at most: bytes/s moved, FLOP/s in the format that the variant computes in."""

    bandwidth: float
    compute: float

    def __mul__(self, devices: int) -> "Ceiling":
        return Ceiling(self.bandwidth * devices, self.compute * devices)


@dataclass(frozen=True, slots=True)
class Work:
    """Of one step, or of several together. `cache`: the part of `bytes` that are keys and values."""

    bytes: float
    flops: float
    cache: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.bytes + other.bytes, self.flops + other.flops, self.cache + other.cache)

    def __mul__(self, times: float) -> "Work":
        return Work(self.bytes * times, self.flops * times, self.cache * times)

    def memory_s(self, ceiling: Ceiling) -> float:
        """Least time to move the bytes."""
        return self.bytes / ceiling.bandwidth

    def compute_s(self, ceiling: Ceiling) -> float:
        """Least time to do the arithmetic."""
        return self.flops / ceiling.compute

    def least_s(self, ceiling: Ceiling) -> float:
        """The roofline: the slower of both, for moving and computing overlap."""
        return max(self.memory_s(ceiling), self.compute_s(ceiling))


def decode_step(shape: Shape, weights: Weights, *, batch: float, context: float, kv_bytes: float = 2) -> Work:
    """One step of decoding: one token for each of `batch` requests that hold `context` tokens on average.

    `kv_bytes`: of one key or value. Divide by `batch` for figures per token.
    """
    token = _token_cache_bytes(shape, kv_bytes)
    cache = batch * (context + 1) * token  # read for all tokens, written for the new one
    attention = 4 * context * shape.heads * shape.head_size * shape.layers
    flops = batch * (2 * (shape.layer_parameters + shape.table_parameters) + attention)
    return Work(weights.step + batch * weights.row + cache, flops, cache)


def prefill_step(shape: Shape, weights: Weights, *, prompt: float, prompts: float = 1, kv_bytes: float = 2) -> Work:
    """One step over `prompts` whole prompts of `prompt` tokens each.

    The head is applied to the last token of each prompt alone, attention is causal: token i looks at i tokens. Keys
    and values are written and read once.
    """
    tokens = prompts * prompt
    cache = 2 * tokens * _token_cache_bytes(shape, kv_bytes)
    attention = 2 * prompt * (prompt + 1) * shape.heads * shape.head_size * shape.layers
    flops = 2 * (tokens * shape.layer_parameters + prompts * shape.table_parameters) + prompts * attention
    return Work(weights.step + tokens * weights.row + cache, flops, cache)


def _token_cache_bytes(shape: Shape, kv_bytes: float) -> float:
    """Keys and values of one token, in all layers."""
    return 2 * shape.layers * shape.kv_heads * shape.head_size * kv_bytes
