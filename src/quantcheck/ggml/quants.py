"""ggml's number formats: their numbers and block sizes, quantizing and dequantizing.

The numbers come from `gguf` (the writer that puts them into files), the sizes and the arithmetic from the library
that will run the model: what is measured is what was made.
"""

import ctypes

import numpy as np
from gguf.constants import GGMLQuantizationType
from numpy.typing import NDArray

from quantcheck.errors import ModelError
from quantcheck.ggml.layout import TypeTraits
from quantcheck.ggml.library import load

__all__ = ["GGMLQuantizationType", "block_size", "dequantize", "needs_imatrix", "quantize", "row_bytes", "type_bytes"]


def block_size(kind: GGMLQuantizationType) -> int:
    """Weights in one block: a row's width must be a multiple of it (1, 32 or 256)."""
    return int(_traits(kind).blck_size)


def type_bytes(kind: GGMLQuantizationType) -> int:
    """Bytes of one block."""
    return int(_traits(kind).type_size)


def row_bytes(kind: GGMLQuantizationType, columns: int) -> int:
    """Bytes of a row of `columns` weights; ModelError when they are not whole blocks."""
    _check_columns(kind, columns)
    return int(load().ggml_row_size(int(kind), columns))


def needs_imatrix(kind: GGMLQuantizationType) -> bool:
    """Whether the format can be made with an importance matrix only."""
    return bool(load().ggml_quantize_requires_imatrix(int(kind)))


def quantize(
    kind: GGMLQuantizationType, weights: NDArray[np.float32], imatrix: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """`weights` [rows, columns] in format `kind`, as bytes [rows, row_bytes], by `ggml_quantize_chunk`.

    `imatrix` [columns] weighs the squared error of each column (mean squared activation of that input); every value
    must be finite and not negative. ggml aborts the process on values that are not finite, so they are refused
    here: ModelError, as for a width that is not whole blocks or a missing matrix.
    """
    rows, columns = weights.shape
    _check_columns(kind, columns)
    source = np.ascontiguousarray(weights, dtype=np.float32)
    if not np.isfinite(source).all():
        raise ModelError("a tensor holds weights that are not finite: check the source model")
    importance = None
    if imatrix is not None:
        importance = np.ascontiguousarray(imatrix, dtype=np.float32)
        if importance.shape != (columns,):
            raise ModelError(f"the importance matrix is {importance.shape} for a tensor {columns} wide: recompute it")
        if not np.isfinite(importance).all() or (importance < 0).any():
            raise ModelError("the importance matrix holds values that are negative or not finite: recompute it")
    elif needs_imatrix(kind):
        raise ModelError(f"{kind.name} cannot be made without an importance matrix: name a calibration file")
    out = np.empty((rows, row_bytes(kind, columns)), dtype=np.uint8)
    written = load().ggml_quantize_chunk(
        int(kind),
        source.ctypes.data,
        out.ctypes.data,
        0,
        rows,
        columns,
        None if importance is None else importance.ctypes.data,
    )
    if written != out.nbytes:
        raise ModelError(f"ggml wrote {written} bytes of {kind.name} where {out.nbytes} were due")
    return out


def dequantize(kind: GGMLQuantizationType, blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The weights [rows, columns] that `blocks` [rows, row_bytes] stand for, by ggml's own `to_float`."""
    traits = _traits(kind)
    rows, width = blocks.shape
    if width % traits.type_size:
        raise ModelError(f"a row of {width} bytes is not whole blocks of {kind.name} ({traits.type_size} bytes)")
    source = np.ascontiguousarray(blocks)
    columns = width // traits.type_size * traits.blck_size
    if kind == GGMLQuantizationType.F32:  # ggml has no conversion from float to float
        return source.view(np.float32).reshape(rows, columns).copy()
    if not traits.to_float:
        raise ModelError(f"ggml has no dequantizer for {kind.name}")
    out = np.empty((rows, columns), dtype=np.float32)
    traits.to_float(source.ctypes.data, out.ctypes.data, rows * columns)
    return out


def _traits(kind: GGMLQuantizationType) -> TypeTraits:
    pointer: ctypes._Pointer[TypeTraits] = load().ggml_get_type_traits(int(kind))
    return pointer.contents


def _check_columns(kind: GGMLQuantizationType, columns: int) -> None:
    block = block_size(kind)
    if columns % block:
        raise ModelError(f"{kind.name} needs rows that are multiples of {block} wide, this tensor is {columns} wide")
