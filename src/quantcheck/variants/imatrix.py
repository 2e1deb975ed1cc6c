"""Importance matrices: how much each input column of a weight matters, measured on a calibration text.

For every matrix of a layer, the mean over tokens of the squared activation that each column multiplies. ggml's
quantizers weigh the error of a column by it. The text is cut into chunks of 512 tokens that start with BOS when
the model wants one, as llama.cpp's `llama-imatrix` does; like there, the output matrix is left out.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

from quantcheck.errors import SpecError
from quantcheck.ggml.model import Context, Model
from quantcheck.ggml.observe import MatrixProduct
from quantcheck.ggml.vocabulary import Vocabulary
from quantcheck.variants.gguf_file import write_gguf
from quantcheck.variants.mix import Tensor

__all__ = ["CHUNK_TOKENS", "ImportanceMatrix", "compute_imatrix"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
IntArray = np.ndarray[Any, np.dtype[np.int32]]

CHUNK_TOKENS = 512
"""Tokens that are evaluated together; llama-imatrix's default."""


@dataclass(frozen=True)
class ImportanceMatrix:
    """Sums of squared activations by tensor name, float64 [columns], and how many tokens went into each."""

    sums: Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]
    tokens: int
    tokens_sha256: str  # over the token ids as little-endian int32

    @property
    def means(self) -> dict[str, FloatArray]:
        """Mean squared activations, float32 [columns]: what `quantize` takes."""
        return {name: (sums / self.tokens).astype(np.float32) for name, sums in self.sums.items()}

    def save(self, path: Path, data: str) -> None:
        """Write it as `llama-imatrix` does, so that `llama-quantize --imatrix` reads it; `data` names the text."""

        def describe(writer: GGUFWriter) -> None:
            writer.add_type("imatrix")
            writer.add_array("imatrix.datasets", [data])
            writer.add_uint32("imatrix.chunk_count", self.tokens // CHUNK_TOKENS)
            writer.add_uint32("imatrix.chunk_size", CHUNK_TOKENS)

        f32 = GGMLQuantizationType.F32
        count = np.array([[self.tokens]], dtype=np.float32)
        tensors: list[tuple[Tensor, Callable[[], Any]]] = []
        for name, sums in sorted(self.sums.items()):
            squares = sums.astype(np.float32).reshape(1, -1)
            tensors.append((Tensor(f"{name}.in_sum2", squares.shape, f32), partial(squares.view, np.uint8)))
            tensors.append((Tensor(f"{name}.counts", count.shape, f32), partial(count.view, np.uint8)))
        # llama-imatrix writes no architecture; the writer must have one, and readers of matrices ignore it.
        write_gguf(path, "imatrix", describe, tensors)


def compute_imatrix(
    model: Path,
    text: str,
    *,
    tokens: int = 32_768,
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> ImportanceMatrix:
    """The importance matrix of the GGUF file `model` on the first `tokens` tokens of `text`.

    Whole chunks of 512 tokens are used. Raises SpecError when the text holds fewer than two of them, ModelError
    when the model cannot be loaded, EngineError for a mixture of experts.
    """
    sums: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}

    def observe(product: MatrixProduct) -> None:
        if not product.weight.startswith("blk."):
            return
        squares = np.einsum("tc,tc->c", product.activations, product.activations, dtype=np.float64)
        sums[product.weight] = sums.get(product.weight, 0.0) + squares

    with Model(model) as opened:
        chunks = _chunks(Vocabulary(opened).encode(text, bos=opened.adds_bos), tokens)
        count = len(chunks)
        positions = np.arange(CHUNK_TOKENS, dtype=np.int32)
        sequences = np.zeros(CHUNK_TOKENS, dtype=np.int32)
        # All logits are asked for: llama.cpp skips the last layer's rows of tokens that nobody asks about.
        wanted = np.ones(CHUNK_TOKENS, dtype=np.bool_)
        with Context(
            opened,
            length=CHUNK_TOKENS,
            batch=CHUNK_TOKENS,
            threads=threads or os.cpu_count() or 1,
            observer=observe,
        ) as context:
            for i, chunk in enumerate(chunks):
                context.clear()
                if opened.adds_bos and opened.bos is not None:
                    chunk = np.concatenate([np.array([opened.bos], dtype=np.int32), chunk[1:]])
                context.decode(chunk, positions, sequences, wanted)
                if progress is not None:
                    progress((i + 1) / count)
    digest = hashlib.sha256(chunks.astype("<i4").tobytes()).hexdigest()
    return ImportanceMatrix(sums, count * CHUNK_TOKENS, digest)


def _chunks(ids: Any, tokens: int) -> IntArray:
    """The first whole chunks, int32 [chunks, 512]."""
    count = min(len(ids), tokens) // CHUNK_TOKENS
    if count < 2:
        raise SpecError(
            f"an importance matrix needs at least {2 * CHUNK_TOKENS} tokens, the calibration text gives "
            f"{min(len(ids), tokens)}: use a longer text or raise `imatrix_tokens`"
        )
    return np.asarray(ids[: count * CHUNK_TOKENS], dtype=np.int32).reshape(count, CHUNK_TOKENS)
