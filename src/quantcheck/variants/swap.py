"""Two GGUF files of one model mixed: some tensors of one among the others of the other."""

from collections.abc import Collection
from functools import partial
from pathlib import Path

import numpy as np

from quantcheck.errors import ModelError
from quantcheck.variants.gguf_file import GgufFile, copy_metadata, write_gguf

__all__ = ["unlike_tensors", "write_mixed"]


def unlike_tensors(ours: GgufFile, theirs: GgufFile) -> list[str]:
    """Names of the tensors whose type or bytes differ, in the file's order.

    Raises `ModelError` when the two do not hold the same tensors in the same shapes.
    """
    mine, other = ({tensor.name: tensor for tensor in file.tensors} for file in (ours, theirs))
    if {name: tensor.shape for name, tensor in mine.items()} != {name: tensor.shape for name, tensor in other.items()}:
        raise ModelError(f"{ours.path} and {theirs.path} hold other tensors: they are no variants of one model")
    return [name for name, tensor in mine.items()
            if tensor.type is not other[name].type or not np.array_equal(ours.raw(name), theirs.raw(name))]


def write_mixed(path: Path, ours: GgufFile, theirs: GgufFile, names: Collection[str]) -> None:
    """Write `ours` with the tensors `names` as `theirs` has them; raises `StoreError` when the disk is full."""
    other = {tensor.name: tensor for tensor in theirs.tensors}
    tensors = [
        (other[tensor.name], partial(theirs.raw, tensor.name)) if tensor.name in names
        else (tensor, partial(ours.raw, tensor.name))
        for tensor in ours.tensors
    ]
    write_gguf(path, ours.architecture, partial(copy_metadata, ours), tensors)
