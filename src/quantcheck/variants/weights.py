"""The tensors of a Hugging Face folder: one or several safetensors files, read where they lie."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from gguf.utility import LocalTensor, SafetensorsLocal

from quantcheck.errors import ModelError

__all__ = ["Weights"]

HalfArray = np.ndarray[Any, np.dtype[np.float16]]
FloatArray = np.ndarray[Any, np.dtype[np.float32]]

_TYPES = {
    "F32": GGMLQuantizationType.F32,
    "F16": GGMLQuantizationType.F16,
    "BF16": GGMLQuantizationType.BF16,
}
_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_BLOCK_VALUES = 1 << 24  # 64 MB of float32 at a time


class Weights:
    """All tensors of a folder by name. ModelError when a file is missing, cut off or of an unknown kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tensors: dict[str, LocalTensor] = {}
        for file in weight_files(folder):
            self._tensors.update(_open(file))

    @property
    def names(self) -> set[str]:
        """Names of all tensors in the folder."""
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape: rows first."""
        return tuple(self._tensors[name].shape)

    def _rows(self, name: str, start: int, stop: int) -> FloatArray:
        tensor = self._tensors[name]
        kind = tensor.dtype
        width = int(np.prod(tensor.shape[1:], dtype=np.int64)) * _BYTES[kind]
        data = tensor.mmap_bytes()[start * width : stop * width]
        values = dequantize(np.array(data, dtype=np.uint8), _TYPES[kind])
        return np.asarray(values, dtype=np.float32).reshape(stop - start, *tensor.shape[1:])

    def float32(self, name: str) -> FloatArray:
        """The whole tensor as float32; ModelError when it holds a value that is not finite."""
        values = self._rows(name, 0, self.shape(name)[0])
        if not np.isfinite(values).all():
            raise ModelError(f"tensor {name} in {self.folder} holds NaN or infinite values")
        return values

    def float16(self, name: str) -> HalfArray:
        """The whole tensor as float16, converted block by block; ModelError when a value does not fit."""
        shape = self.shape(name)
        out = np.empty(shape, dtype=np.float16)
        step = max(1, _BLOCK_VALUES // max(1, int(np.prod(shape[1:], dtype=np.int64))))
        for start in range(0, shape[0], step):
            stop = min(start + step, shape[0])
            with np.errstate(over="ignore"):
                out[start:stop] = self._rows(name, start, stop)
            if not np.isfinite(out[start:stop]).all():
                raise ModelError(f"tensor {name} in {self.folder} holds NaN or values above float16's 65504")
        return out


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, by its index when it has one; ModelError when one is missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{index} is damaged: fetch it again") from error
        missing = [n for n in names if not (folder / n).is_file()]
        if missing:
            raise ModelError(f"{folder} misses {len(missing)} of {len(names)} weight files, the first is {missing[0]}")
        return [folder / n for n in names]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = ", only *.bin, which are pickles" if any(folder.glob("*.bin")) else ""
        raise ModelError(f"{folder} holds no *.safetensors{pickles}: save the model as safetensors")
    if len(files) > 1 and (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    return files


def _open(file: Path) -> dict[str, LocalTensor]:
    try:
        tensors = SafetensorsLocal(file).tensors
        size = file.stat().st_size
        for name, tensor in tensors.items():
            if tensor.dtype not in _TYPES:
                raise ModelError(
                    f"tensor {name} in {file} is {tensor.dtype}: only F32, F16 and BF16 weights can be converted"
                )
            values = int(np.prod(tensor.shape, dtype=np.int64))
            start, length = tensor.data_range.offset, tensor.data_range.size
            if length != values * _BYTES[tensor.dtype] or start + length > size:
                raise ModelError(f"{file} is damaged or cut off at tensor {name}: fetch it again")
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ModelError(f"{file} is damaged or cut off: fetch it again") from error
    return tensors
