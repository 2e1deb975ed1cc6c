"""Which tensor gets which number format: llama.cpp's mixes.

A GGUF scheme such as Q4_K_M is not one format: attention values, the way down of the feed-forward and the
output get more bits in some layers. The choices here are those of `llama-quantize` of llama.cpp (its
`llama-quant.cpp`) for the architectures llama, qwen2 and qwen3; the tests hold them, tensor by tensor,
against tables made with that program.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

from quantcheck.errors import SpecError

__all__ = ["ARCHITECTURES", "SCHEMES", "TYPES", "ModelShape", "Tensor", "in_file_order", "retyped", "tensor_types"]

T = GGMLQuantizationType

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Architectures (`general.architecture`) for which the mixes are proved."""

SCHEMES: dict[str, LlamaFileType] = {
    "F16": LlamaFileType.MOSTLY_F16,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
    "Q6_K": LlamaFileType.MOSTLY_Q6_K,
    "Q5_K_M": LlamaFileType.MOSTLY_Q5_K_M,
    "Q4_K_M": LlamaFileType.MOSTLY_Q4_K_M,
    "Q4_0": LlamaFileType.MOSTLY_Q4_0,
    "IQ4_NL": LlamaFileType.MOSTLY_IQ4_NL,
    "Q3_K_M": LlamaFileType.MOSTLY_Q3_K_M,
    "Q3_K_S": LlamaFileType.MOSTLY_Q3_K_S,
    "Q2_K": LlamaFileType.MOSTLY_Q2_K,
}
"""The ladder, from most to fewest bits, with the number that goes into `general.file_type`."""

_BASE: dict[str, GGMLQuantizationType] = {
    "F16": T.F16,
    "Q8_0": T.Q8_0,
    "Q6_K": T.Q6_K,
    "Q5_K_M": T.Q5_K,
    "Q4_K_M": T.Q4_K,
    "Q4_0": T.Q4_0,
    "IQ4_NL": T.IQ4_NL,
    "Q3_K_M": T.Q3_K,
    "Q3_K_S": T.Q3_K,
    "Q2_K": T.Q2_K,
}

TYPES: dict[str, GGMLQuantizationType] = {
    kind.name: kind
    for kind in (T.F16, T.Q8_0, T.Q6_K, T.Q5_K, T.Q5_1, T.Q5_0, T.Q4_K, T.Q4_1, T.Q4_0, T.IQ4_NL, T.Q3_K, T.Q2_K)
}
"""Types that a single tensor can be given, by name."""

# What a row that is no multiple of 256 gets instead.
_FALLBACK = {T.Q2_K: T.Q4_0, T.Q3_K: T.Q4_0, T.Q4_K: T.Q5_0, T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0}

# Two-dimensional weights that stay as they are: routing of experts.
_KEPT = ("_norm.weight", "ffn_gate_inp.weight")

_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True)
class Tensor:
    """A tensor of the source file; `shape` as in numpy: rows first, the row width last."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType

    @property
    def columns(self) -> int:
        """Values in a row."""
        return self.shape[-1]

    @property
    def values(self) -> int:
        """All values."""
        count = 1
        for n in self.shape:
            count *= n
        return count


@dataclass(frozen=True)
class ModelShape:
    """What the mixes look at, besides the tensors themselves."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    experts: int = 0

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.heads // self.kv_heads if self.kv_heads else 0

    @property
    def is_70b(self) -> bool:
        """llama.cpp's notion of a 70B model: 80 layers (for llama: with grouped-query attention)."""
        if self.layers != 80:
            return False
        if self.architecture == "llama":
            return self.heads != self.kv_heads
        return self.architecture == "qwen2"


def _layer(name: str) -> int:
    found = _LAYER.match(name)
    return int(found[1]) if found else -1


def in_file_order(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The order in which llama.cpp walks and writes tensors: those outside layers, then by layer, by name."""
    return sorted(tensors, key=lambda t: (_layer(t.name), t.name))


def _quantizable(tensor: Tensor) -> bool:
    # A dimension counts only when something lies beyond the first: [1, n] is a vector to ggml.
    matrix = any(n > 1 for n in tensor.shape[:-1])
    return matrix and tensor.name.endswith("weight") and not any(part in tensor.name for part in _KEPT)


def _more_bits(i: int, n: int) -> bool:
    """The first and last eighth of the layers, and every third between, get more bits in the _M mixes."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def _output(base: GGMLQuantizationType, columns: int) -> GGMLQuantizationType:
    if columns % GGML_QUANT_SIZES[base][0] or base is T.Q8_0:
        return T.Q8_0
    return T.Q6_K


def _attention_value(scheme: str, i: int, n: int, model: ModelShape) -> GGMLQuantizationType:
    if model.experts == 8:
        return T.Q8_0
    chosen = _BASE[scheme]
    if scheme == "Q2_K":
        chosen = T.Q4_K if model.group >= 4 else T.Q3_K
    elif scheme == "Q3_K_M":
        chosen = T.Q5_K if i < 2 else T.Q4_K
    elif scheme == "IQ4_NL" and model.group >= 4:
        chosen = T.Q5_K
    elif scheme in ("Q4_K_M", "Q5_K_M") and _more_bits(i, n):
        chosen = T.Q6_K
    if model.is_70b and chosen in (T.Q3_K, T.Q4_K):
        return T.Q5_K
    return chosen


def _attention_output(scheme: str, model: ModelShape) -> GGMLQuantizationType:
    if model.experts == 8:
        five = ("Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_M")
        return T.Q5_K if scheme in five else _BASE[scheme]
    return {"Q2_K": T.Q3_K, "Q3_K_M": T.Q4_K}.get(scheme, _BASE[scheme])


def _feed_forward_down(scheme: str, i: int, n: int, imatrix: bool) -> GGMLQuantizationType:
    if scheme == "Q2_K":
        return T.Q3_K
    if scheme == "Q3_K_M":
        return T.Q5_K if i < n // 16 else T.Q4_K
    if scheme in ("Q4_K_M", "Q5_K_M") and _more_bits(i, n):
        return T.Q6_K
    if scheme == "IQ4_NL" and i < n // 8 and not imatrix:
        return T.Q5_K
    if scheme == "Q4_0" and i < n // 8 and imatrix:
        return T.Q4_1
    return _BASE[scheme]


def _fitting(chosen: GGMLQuantizationType, columns: int) -> GGMLQuantizationType:
    if columns % GGML_QUANT_SIZES[chosen][0] == 0:
        return chosen
    chosen = _FALLBACK.get(chosen, chosen)
    return chosen if columns % GGML_QUANT_SIZES[chosen][0] == 0 else T.F16


def tensor_types(
    scheme: str, tensors: Sequence[Tensor], model: ModelShape, *, imatrix: bool = False
) -> dict[str, GGMLQuantizationType]:
    """The type of every tensor under `scheme` (a key of SCHEMES), by tensor name, in file order.

    `imatrix` says whether an importance matrix is used: Q4_0 and IQ4_NL differ. Rows that do not fit a
    format's block get llama.cpp's substitutes. Source: llama.cpp `llama_tensor_get_type_impl`.
    """
    ordered = in_file_order(tensors)
    base: GGMLQuantizationType = _BASE[scheme]
    tied = all(t.name != "output.weight" for t in ordered)
    values = sum("attn_v.weight" in t.name for t in ordered)
    value_index = 0
    types: dict[str, GGMLQuantizationType] = {}
    for tensor in ordered:
        name = tensor.name
        if not _quantizable(tensor):
            types[name] = tensor.type
            continue
        if base is T.F16:
            types[name] = base
            continue
        chosen: GGMLQuantizationType = base
        if name == "output.weight" or (tied and name == "token_embd.weight"):
            chosen = _output(base, tensor.columns)
        elif "attn_v.weight" in name:
            chosen = _attention_value(scheme, value_index, values, model)
            value_index += 1
        elif "attn_k.weight" in name and model.experts == 8:
            chosen = T.Q8_0
        elif "attn_output.weight" in name:
            chosen = _attention_output(scheme, model)
        elif "ffn_down" in name:
            chosen = _feed_forward_down(scheme, _layer(name), model.layers, imatrix)
        types[name] = _fitting(chosen, tensor.columns)
    return types


def retyped(
    types: Mapping[str, GGMLQuantizationType], tensors: Sequence[Tensor], wanted: Mapping[str, str]
) -> dict[str, GGMLQuantizationType]:
    """`types` with some tensors' own: `wanted` maps names (without `.weight`; `*` for anything) to names of `TYPES`.

    Raises `SpecError` for a name that fits no matrix, and for a type that is unknown or does not fit a tensor's rows.
    """
    found = dict(types)
    for pattern, name in wanted.items():
        kind = TYPES.get(name.upper())
        if kind is None:
            raise SpecError(f"quantize.tensors: {pattern}: there is no type {name!r}; take one of {', '.join(TYPES)}")
        fitting = [t for t in tensors if _quantizable(t) and fnmatchcase(t.name.removesuffix(".weight"), pattern)]
        if not fitting:
            raise SpecError(f"quantize.tensors: {pattern!r} fits no matrix of the model; names are like "
                            "blk.0.ffn_down, blk.*.attn_v, output")
        for tensor in fitting:
            block = GGML_QUANT_SIZES[kind][0]
            if tensor.columns % block:
                raise SpecError(f"quantize.tensors: {tensor.name} has rows of {tensor.columns} values, and {kind.name} "
                                f"takes multiples of {block}; give it another type")
            found[tensor.name] = kind
    return found
