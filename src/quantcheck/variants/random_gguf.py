"""A GGUF file of random weights: the speed and memory of an architecture and scheme, before a byte is downloaded.

One tile of normal numbers is quantized by ggml, once for each type, and cut into units of 256 weights: the longest
block that any type has. Every matrix is units drawn from the tile with replacement. So all blocks are valid, a file of
any size takes little memory and no longer than its writing, and since a unit is quantized the same wherever it lies,
the file is, to the byte, what quantizing the F16 file of the same seed gives. Norms are ones and biases zeros, as in a
model that training has not touched: the numbers stay finite in all layers, and the text means nothing.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFWriter, TokenType

from quantcheck.errors import ModelError, SpecError
from quantcheck.ggml import quants
from quantcheck.variants.architecture import FAMILIES, read_config
from quantcheck.variants.gguf_file import write_gguf
from quantcheck.variants.mix import SCHEMES, ModelShape, Tensor, in_file_order, tensor_types

__all__ = ["write_random_gguf"]

Array = np.ndarray[Any, np.dtype[Any]]
ByteArray = np.ndarray[Any, np.dtype[np.uint8]]
FloatArray = np.ndarray[Any, np.dtype[np.float32]]

_F16, _F32 = GGMLQuantizationType.F16, GGMLQuantizationType.F32
_SIGMA = 0.02  # the `initializer_range` of the Llama and Qwen families
_UNIT = 256
_UNITS = 4096  # in the tile: 2^20 weights
_CHUNK_BYTES = 1 << 23
_WORD = "\u2581t"  # llama.cpp's mark for the beginning of a word, and the stand-in vocabulary's letter


def write_random_gguf(
    config: Mapping[str, Any],
    target: Path,
    scheme: str,
    *,
    seed: int = 0,
    imatrix: bool = False,
    progress: Callable[[float], None] | None = None,
) -> list[Tensor]:
    """Write a model of the architecture in `config` to `target` under `scheme`; returns the tensors as written.

    Args:
        config: `config.json` of the unquantized model, Llama, Mistral, Qwen2 or Qwen3.
        scheme: a key of `mix.SCHEMES`. Each tensor gets the type that quantizing a real model gives it.
        seed: at least 0; the same seed gives the same bytes, and with every scheme the same weights.
        imatrix: the types are those of quantizing with an importance matrix; the weights are rounded without one.
        progress: hears the fraction of values written.

    The vocabulary stands in for the model's, as `weightless.stand_in_tokenizer` does for other engines.

    Raises SpecError for an unknown scheme, ModelError for a configuration that cannot be (another family, quantized
    already, sizes that do not fit), StoreError when the disk is full; nothing is left at `target` then.
    """
    if scheme not in SCHEMES:
        raise SpecError(f"there is no GGUF scheme {scheme!r}; known: {', '.join(SCHEMES)}")
    if config.get("model_type") not in FAMILIES:
        raise ModelError(f"random weights cannot be made for model_type {config.get('model_type')!r} (only "
                         f"{', '.join(FAMILIES)}): measure it with a ready GGUF")
    architecture = read_config(config, "config.json")
    shape = ModelShape(architecture.family, architecture.layers, architecture.heads, architecture.kv_heads)
    tensors = [Tensor(t.name, t.shape, _F16 if len(t.shape) > 1 else _F32) for t in architecture.tensors()]
    vectors: dict[str, Array] = {}
    factors = architecture.rope_factors()
    if factors is not None:
        vectors["rope_freqs.weight"] = factors
        tensors.append(Tensor("rope_freqs.weight", factors.shape, _F32))
    tensors = in_file_order(tensors)
    types = tensor_types(scheme, tensors, shape, imatrix=imatrix)
    tile = _Tile(seed)

    def describe(writer: GGUFWriter) -> None:
        writer.add_type("model")
        writer.add_description("random weights, for measuring speed and memory")
        writer.add_file_type(SCHEMES[scheme])
        writer.add_quantization_version(GGML_QUANT_VERSION)
        architecture.describe(writer)
        _describe_vocabulary(writer, config, architecture.vocabulary)

    def load(index: int, tensor: Tensor) -> ByteArray:
        if len(tensor.shape) > 1:
            # A writer of GGUF wants an array's `nbytes` and `tofile`, no more: a matrix is never held in memory.
            return cast(ByteArray, _Matrix(tile, tensor, index))
        values = vectors.get(tensor.name)
        if values is None:
            values = (np.zeros if tensor.name.endswith(".bias") else np.ones)(tensor.shape, np.float32)
        return values.view(np.uint8)

    written = [Tensor(t.name, t.shape, types[t.name]) for t in tensors]
    jobs = [(t, lambda index=index, t=t: load(index, t)) for index, t in enumerate(written)]
    write_gguf(target, architecture.family, describe, jobs, progress)
    return written


class _Tile:
    """Random weights, and the blocks that they make in each type."""

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise SpecError(f"the seed of random weights must be 0 or more, not {seed}")
        self.seed = seed
        self._made: dict[GGMLQuantizationType, ByteArray] = {}

    @cached_property
    def _weights(self) -> FloatArray:
        values = np.random.default_rng(self.seed).standard_normal((_UNITS, _UNIT), dtype=np.float32)
        return (values * np.float32(_SIGMA)).astype(np.float16).astype(np.float32)

    def units(self, kind: GGMLQuantizationType) -> ByteArray:
        """The tile in format `kind`, [units, bytes of a unit]."""
        if kind not in self._made:
            if kind is _F16:
                self._made[kind] = self._weights.astype(np.float16).view(np.uint8)
            else:
                self._made[kind] = quants.quantize(kind, self._weights)
        return self._made[kind]


class _Matrix:
    """One matrix, made as it is written; `index` tells it from the others of the file."""

    def __init__(self, tile: _Tile, tensor: Tensor, index: int) -> None:
        self.nbytes = tensor.values // tensor.columns * quants.row_bytes(tensor.type, tensor.columns)
        self._units = tile.units(tensor.type)
        self._random = np.random.default_rng((tile.seed, index))

    def tofile(self, file: IO[bytes]) -> None:
        """Write all bytes, a few MB at a time; the last unit may be cut, at the end of a block."""
        count, width = self._units.shape
        step = _CHUNK_BYTES // width
        left = self.nbytes
        while left:
            drawn = self._random.integers(count, size=min(step, -(-left // width)))
            part = self._units[drawn].reshape(-1)[:left]
            file.write(part.data)
            left -= part.nbytes


def _describe_vocabulary(writer: GGUFWriter, config: Mapping[str, Any], vocabulary: int) -> None:
    """The words t0, t1, ...: text is cut at blanks, a word that is no id is id 0.

    llama.cpp's one tokenizer that looks whole words up is BERT's. Its special tokens are set to id 0 where the model
    has none, for their defaults would be ids that a small vocabulary does not have; no end of text is the default.
    llama.cpp's server puts two of them around a prompt of text, whatever the file says; a prompt of ids stays as it is.
    """
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"{_WORD}{number}" for number in range(vocabulary)])
    writer.add_token_types([TokenType.NORMAL] * vocabulary)
    for add in (writer.add_unk_token_id, writer.add_sep_token_id, writer.add_pad_token_id, writer.add_mask_token_id):
        add(0)
    writer.add_bos_token_id(_special(config, "bos_token_id", vocabulary) or 0)
    end = _special(config, "eos_token_id", vocabulary)
    if end is not None:
        writer.add_eos_token_id(end)
    for switch in (writer.add_add_bos_token, writer.add_add_eos_token, writer.add_add_sep_token):
        switch(False)


def _special(config: Mapping[str, Any], key: str, vocabulary: int) -> int | None:
    number: Any = config.get(key)
    if isinstance(number, list):
        number = next(iter(number), None)
    return number if type(number) is int and 0 <= number < vocabulary else None
