"""From a Hugging Face folder of the Llama family to an F16 GGUF file.

Matrices become float16, vectors (norms, biases, rotary factors) float32. Llama and Mistral checkpoints keep the
rows of Q and K so that a rotation pairs the first half of a head with the second; llama.cpp's `llama` pairs
neighbours, so their rows are interleaved. Qwen needs no such thing.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFWriter, LlamaFileType

from quantcheck.errors import ModelError
from quantcheck.variants.architecture import Planned, read_architecture
from quantcheck.variants.gguf_file import write_gguf
from quantcheck.variants.mix import Tensor
from quantcheck.variants.tokenizer import describe_tokenizer
from quantcheck.variants.weights import Weights

__all__ = ["convert", "interleave"]

Array = np.ndarray[Any, np.dtype[Any]]
ByteArray = np.ndarray[Any, np.dtype[np.uint8]]


def interleave(rows: Array, heads: int) -> Array:
    """Reorder the rows of each head from [first half, second half] to pairs of one of each; [rows, ...] in and out."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def convert(folder: Path, path: Path, *, progress: Callable[[float], None] | None = None) -> list[Tensor]:
    """Write the model in `folder` to `path` as F16 GGUF; returns the tensors as written.

    Raises ModelError when the folder is incomplete, inconsistent or of a kind that cannot be converted, StoreError
    when the disk is full.
    """
    architecture = read_architecture(folder)
    weights = Weights(folder)
    planned = architecture.plan(weights.names)
    for tensor in planned:
        shape = weights.shape(tensor.source)
        if shape != tensor.shape:
            raise ModelError(
                f"tensor {tensor.source} in {folder} has shape {list(shape)}, config.json means {list(tensor.shape)}"
            )

    def describe(writer: GGUFWriter) -> None:
        writer.add_type("model")
        writer.add_file_type(LlamaFileType.MOSTLY_F16)
        writer.add_quantization_version(GGML_QUANT_VERSION)
        architecture.describe(writer)
        describe_tokenizer(writer, folder, architecture.vocabulary)

    tensors: list[tuple[Tensor, Callable[[], ByteArray]]] = [
        (Tensor(t.name, t.shape, _stored_as(t)), partial(_load, weights, t)) for t in planned
    ]
    factors = architecture.rope_factors()
    if factors is not None:
        stored = Tensor("rope_freqs.weight", factors.shape, GGMLQuantizationType.F32)
        tensors.append((stored, lambda: factors.view(np.uint8)))
    write_gguf(path, architecture.family, describe, tensors, progress)
    return [tensor for tensor, _ in tensors]


def _stored_as(tensor: Planned) -> GGMLQuantizationType:
    return GGMLQuantizationType.F16 if len(tensor.shape) > 1 else GGMLQuantizationType.F32


def _load(weights: Weights, tensor: Planned) -> ByteArray:
    values: Array = weights.float16(tensor.source) if len(tensor.shape) > 1 else weights.float32(tensor.source)
    if tensor.rope_heads:
        values = interleave(values, tensor.rope_heads)
    return values.reshape(-1).view(np.uint8)
