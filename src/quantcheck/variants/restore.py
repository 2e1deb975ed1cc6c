"""From a GGUF file back to a Hugging Face folder: the values that its blocks stand for, in float32.

The other direction of `convert`. The weights are those of the file, whatever their types; only how an engine computes
with them changes, and so the folder tells a file's weights from llama.cpp's kernels.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from quantcheck.errors import ModelError
from quantcheck.variants.architecture import Planned, read_architecture
from quantcheck.variants.gguf_file import GgufFile, disk_errors
from quantcheck.variants.shapes import read_config_file
from quantcheck.variants.weights import Weights

__all__ = ["pair_halves", "restore"]

Array = np.ndarray[Any, np.dtype[np.float32]]

_BLOCK_VALUES = 1 << 24  # 64 MB of float32 at a time
_NOT_COPIED = (".safetensors", ".bin", ".index.json", ".gguf")


def restore(file: Path, original: Path, folder: Path) -> None:
    """Write the weights of the GGUF `file` into the new `folder`, as float32 safetensors.

    `original`: the Hugging Face folder of which the file was made; it gives configuration, tokenizer and names. Raises
    `ModelError` where the two are not of one model or a type cannot be read, `StoreError` when the disk is full.
    """
    made = GgufFile(file)
    planned = read_architecture(original).plan(Weights(original).names)
    there = {tensor.name: tensor.shape for tensor in made.tensors}
    for tensor in planned:
        if there.get(tensor.name) != tensor.shape:
            raise ModelError(f"{file}: {tensor.name} is {there.get(tensor.name, 'not there')}, and {original} means "
                             f"{tensor.shape}; name the model that the file was made of")
    with disk_errors(folder):
        folder.mkdir()
        for name in original.iterdir():
            if name.is_file() and not name.name.endswith(_NOT_COPIED):
                shutil.copyfile(name, folder / name.name)
        config = read_config_file(original / "config.json")
        for key in ("quantization_config", "dtype"):
            config.pop(key, None)
        (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": "float32"}), encoding="utf-8")
        _write(folder / "model.safetensors", made, planned)


def _write(path: Path, made: GgufFile, planned: list[Planned]) -> None:
    """One file in the safetensors format: the header's size, the header, and the tensors one after the other."""
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in planned:
        begin, end = end, end + 4 * int(np.prod(tensor.shape, dtype=np.int64))
        head[tensor.source] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(np.array([len(text)], dtype="<u8").tobytes() + text)
        for tensor in planned:
            for rows in _values(made, tensor):
                rows.astype("<f4").tofile(file)


def _values(made: GgufFile, tensor: Planned) -> Iterator[Array]:
    columns = tensor.shape[-1]
    count = int(np.prod(tensor.shape, dtype=np.int64)) // columns
    if tensor.rope_heads and len(tensor.shape) == 1:
        yield pair_halves(made.rows(tensor.name, 0, 1).reshape(-1), tensor.rope_heads)
        return
    # Rows change places within a head: then all are needed at once.
    step = count if tensor.rope_heads else max(1, _BLOCK_VALUES // columns)
    for start in range(0, count, step):
        rows = made.rows(tensor.name, start, min(start + step, count))
        yield pair_halves(rows, tensor.rope_heads) if tensor.rope_heads else rows


def pair_halves(rows: Array, heads: int) -> Array:
    """What `convert.interleave` did, undone: from adjacent pairs to halves in each head; [rows, ...] in and out."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)
