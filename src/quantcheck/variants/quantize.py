"""From an F16 (or BF16, F32) GGUF file to another scheme of the ladder.

Metadata is carried over; each tensor is dequantized, quantized by ggml row block by row block in threads, and
written before the next one is read.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_VERSION, GGMLQuantizationType, GGUFWriter

from quantcheck.errors import ModelError, SpecError
from quantcheck.ggml import quants
from quantcheck.process.managed import guarded
from quantcheck.variants.gguf_file import GgufFile, copy_metadata, disk_errors, write_gguf
from quantcheck.variants.mix import ARCHITECTURES, SCHEMES, Tensor, in_file_order, retyped, tensor_types

__all__ = ["find_llama_quantize", "quantize", "quantize_with_llama_quantize"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
ByteArray = np.ndarray[Any, np.dtype[np.uint8]]

_FLOATS = (GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16)
_BLOCK_VALUES = 1 << 20  # values handed to one thread at a time: 4 MB of float32


def quantize(
    source: Path | GgufFile,
    path: Path,
    scheme: str,
    *,
    imatrix: Mapping[str, FloatArray] | None = None,
    own: Mapping[str, str] | None = None,
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Tensor]:
    """Write `source` to `path` under `scheme` (a key of `mix.SCHEMES`); returns the tensors as written.

    `imatrix` holds the mean squared activation per input column, float32 [columns], by tensor name; tensors that
    it does not name are quantized plainly. `own`: types of single tensors, as `mix.retyped` takes them. `threads`:
    default all cores.

    Raises ModelError when the source is already quantized, damaged or of an architecture whose mixes are not
    known; SpecError for a type of `own` that cannot be; StoreError when the disk is full.
    """
    file = source if isinstance(source, GgufFile) else GgufFile(source)
    if file.architecture not in ARCHITECTURES:
        raise ModelError(
            f"{file.path}: architecture {file.architecture!r} is not one of {', '.join(ARCHITECTURES)}: "
            "quantize it with `quantize: {with: llama-quantize}`, or give ready GGUF files"
        )
    tensors = in_file_order(file.tensors)
    done = next((t for t in tensors if t.type not in _FLOATS), None)
    if done is not None:
        raise ModelError(f"{file.path} is already quantized ({done.name} is {done.type.name}): give an F16 GGUF")
    types = retyped(tensor_types(scheme, tensors, file.shape, imatrix=imatrix is not None), tensors, own or {})

    def describe(writer: GGUFWriter) -> None:
        written_here = ("general.file_type", "general.quantization_version")
        copy_metadata(file, writer, without=written_here)
        writer.add_file_type(SCHEMES[scheme])
        writer.add_quantization_version(GGML_QUANT_VERSION)

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        jobs: list[tuple[Tensor, Callable[[], ByteArray]]] = [
            (
                Tensor(t.name, t.shape, types[t.name]),
                partial(_tensor_bytes, file, t, types[t.name], (imatrix or {}).get(t.name), pool),
            )
            for t in tensors
        ]
        write_gguf(path, file.architecture, describe, jobs, progress)
    return [tensor for tensor, _ in jobs]


def _tensor_bytes(
    file: GgufFile, tensor: Tensor, kind: GGMLQuantizationType, importance: FloatArray | None, pool: ThreadPoolExecutor
) -> ByteArray:
    if kind is tensor.type:
        return file.raw(tensor.name)
    rows = tensor.values // tensor.columns
    step = max(1, _BLOCK_VALUES // tensor.columns)

    def block(start: int) -> ByteArray:
        values = file.rows(tensor.name, start, min(start + step, rows))
        if kind is GGMLQuantizationType.F32:
            return values.view(np.uint8)
        if kind is GGMLQuantizationType.F16:
            with np.errstate(over="ignore"):
                half = values.astype(np.float16)
            if not np.isfinite(half).all():
                raise ModelError(f"{tensor.name} in {file.path} holds NaN or values above float16's 65504")
            return half.view(np.uint8)
        return quants.quantize(kind, values, importance)

    out = np.empty((rows, quants.row_bytes(kind, tensor.columns)), dtype=np.uint8)
    starts = range(0, rows, step)
    for start, data in zip(starts, pool.map(block, starts), strict=True):
        out[start : start + step] = data
    return out.reshape(-1)


def find_llama_quantize() -> Path:
    """The `llama-quantize` on the PATH; SpecError when there is none."""
    found = shutil.which("llama-quantize")
    if found is None:
        raise SpecError(
            "`quantize: {with: llama-quantize}` needs llama-quantize on the PATH: install llama.cpp, or leave it out"
        )
    return Path(found)


def quantize_with_llama_quantize(
    source: Path, path: Path, scheme: str, *, imatrix: Path | None = None, threads: int | None = None
) -> None:
    """As `quantize`, by llama.cpp's own program; `imatrix` is a file as `llama-imatrix` writes it."""
    command = [str(find_llama_quantize())]
    if imatrix is not None:
        command += ["--imatrix", str(imatrix)]
    command += [str(source), str(path), scheme, str(threads or os.cpu_count() or 1)]
    done = subprocess.run(guarded(command), capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0 or not path.is_file():
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        failures = [line for line in lines if "failed" in line or "error" in line.lower()]
        reason = (failures or lines[-1:] or ["no output"])[0]
        raise ModelError(f"llama-quantize could not make {scheme} from {source}: {reason.strip()}")
    with disk_errors(path), path.open("rb") as file:
        os.fsync(file.fileno())
