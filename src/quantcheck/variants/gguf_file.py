"""Reading a GGUF file with checks, and writing one tensor by tensor.

The format itself is the `gguf` package's business; here its failures become one clear line, and a file is
written as a stream, so that no more than one tensor is held in memory.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGUFReader, GGUFValueType, GGUFWriter, ReaderField, ReaderTensor
from gguf.quants import dequantize

from quantcheck.errors import ModelError, StoreError
from quantcheck.variants.mix import ModelShape, Tensor

__all__ = ["GgufFile", "bits_per_weight", "copy_metadata", "disk_errors", "write_gguf"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
ByteArray = np.ndarray[Any, np.dtype[np.uint8]]

_MAGIC = b"GGUF"
# What the reader raises on bytes that make no sense.
_DAMAGE = (ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError, RecursionError)


class _Reader(GGUFReader):
    """`GGUFReader` would walk through an array of any stated length, past the file's end, for hours."""

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[GGUFValueType]]:
        if raw_type == GGUFValueType.ARRAY:
            length = int(self._get(orig_offs + 4, np.uint64)[0])
            if length > self.data.size - orig_offs:
                raise ValueError(f"an array of {length} items in a file of {self.data.size} bytes")
        return super()._get_field_parts(orig_offs, raw_type)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a failure to write at `path` into a StoreError of one line."""
    try:
        yield
    except OSError as error:
        # A short write by numpy's `tofile` carries no errno: the disk is full then, too.
        if error.errno is None or error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"no space left on the disk of {path.parent}: free some, or set QUANTCHECK_CACHE to another folder"
            ) from error
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


class GgufFile:
    """An opened GGUF file: its metadata and its tensors, which stay on disk until they are read.

    Raises ModelError when the file is missing, is no GGUF, or is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}; give a GGUF file") from error
        if magic != _MAGIC:
            raise ModelError(f"{path} is not a GGUF file: it begins with {magic!r}, not {_MAGIC!r}")
        try:
            self._reader = _Reader(path)
        except _DAMAGE as error:
            raise self._damaged() from error
        parts = self.value("split.count", 1)
        if isinstance(parts, int) and parts > 1:
            raise ModelError(f"{path} is one of {parts} parts: join them with `llama-gguf-split --merge` first")
        self._tensors = {t.name: t for t in self._reader.tensors}
        if any(t.shape.size == 0 or t.n_elements == 0 for t in self._reader.tensors):
            raise self._damaged()
        end = max((t.data_offset + t.n_bytes for t in self._reader.tensors), default=0)
        if not self._tensors or end > path.stat().st_size:
            raise ModelError(
                f"{path} is cut off: {path.stat().st_size} bytes where its tensors need {end}: fetch it again"
            )

    def _damaged(self) -> ModelError:
        return ModelError(f"{self.path} is damaged or cut off ({self.path.stat().st_size} bytes): fetch it again")

    def _contents(self, field: ReaderField) -> Any:
        try:
            return field.contents()
        except _DAMAGE as error:  # a text that is not UTF-8, for one
            raise self._damaged() from error

    @property
    def fields(self) -> Iterable[tuple[str, GGUFValueType, GGUFValueType | None, Any]]:
        """Each metadata key with its type, the type of its items when it is an array, and its value."""
        for name, field in self._reader.fields.items():
            if not name.startswith("GGUF."):  # the reader's own names for the header
                yield name, field.types[0], field.types[-1] if len(field.types) > 1 else None, self._contents(field)

    def value(self, key: str, default: Any = None) -> Any:
        """The value of one metadata key, or `default`."""
        field = self._reader.fields.get(key)
        return default if field is None else self._contents(field)

    @property
    def architecture(self) -> str:
        """`general.architecture`, e.g. llama."""
        return str(self.value("general.architecture", "?"))

    @property
    def alignment(self) -> int:
        """Bytes to which tensors are aligned."""
        return int(self._reader.alignment)

    @property
    def shape(self) -> ModelShape:
        """Layers, heads and experts as the file states them; ModelError when it does not."""

        def count(key: str, default: int | None = None) -> int:
            value = self.value(f"{self.architecture}.{key}", default)
            if isinstance(value, list):
                value = next(iter(value), None)
            if not isinstance(value, int):
                raise ModelError(f"{self.path} does not state {self.architecture}.{key}: not a language model?")
            return value

        heads = count("attention.head_count")
        return ModelShape(
            architecture=self.architecture,
            layers=count("block_count"),
            heads=heads,
            kv_heads=count("attention.head_count_kv", heads),
            experts=count("expert_count", 0),
        )

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, in the file's order."""
        return [
            Tensor(t.name, tuple(int(n) for n in reversed(t.shape.tolist())), t.tensor_type)
            for t in self._reader.tensors
        ]

    def _find(self, name: str) -> ReaderTensor:
        return self._tensors[name]

    def raw(self, name: str) -> ByteArray:
        """The tensor's bytes, as stored (a view of the file)."""
        return np.frombuffer(self._find(name).data, dtype=np.uint8)

    def rows(self, name: str, start: int, stop: int) -> FloatArray:
        """Rows `start` to `stop` of the tensor, counted over all its matrices, as float32 [rows, columns].

        Raises ModelError where the `gguf` package cannot read the tensor's type.
        """
        tensor = self._find(name)
        columns = int(tensor.shape[0])
        block, size = GGML_QUANT_SIZES[tensor.tensor_type]
        width = columns // block * size
        data = self.raw(name)[start * width : stop * width].reshape(stop - start, width)
        try:
            values = dequantize(np.ascontiguousarray(data), tensor.tensor_type)
        except NotImplementedError as error:
            raise ModelError(f"{self.path}: tensor {name} is {tensor.tensor_type.name}, whose values cannot be read; "
                             "give a file with other types (F16 reads best)") from error
        return np.ascontiguousarray(values, dtype=np.float32).reshape(stop - start, columns)


def bits_per_weight(tensors: Iterable[Tensor]) -> float:
    """Bits per value over all tensors, the metadata left out: llama.cpp's BPW."""
    bits = values = 0
    for tensor in tensors:
        block, size = GGML_QUANT_SIZES[tensor.type]
        bits += tensor.values // block * size * 8
        values += tensor.values
    return bits / values if values else 0.0


def copy_metadata(source: GgufFile, writer: GGUFWriter, without: Iterable[str] = ()) -> None:
    """Carry all metadata keys of `source` over, except the architecture (the writer has it) and `without`."""
    left_out = {"general.architecture", *without}
    for name, kind, item_kind, value in source.fields:
        if name == "general.alignment":
            writer.add_custom_alignment(int(value))
        elif name not in left_out:
            writer.add_key_value(name, value, kind, item_kind)


def write_gguf(
    path: Path,
    architecture: str,
    describe: Callable[[GGUFWriter], None],
    tensors: Sequence[tuple[Tensor, Callable[[], ByteArray]]],
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a GGUF file and have it safely on disk: metadata by `describe`, then each tensor as its bytes come.

    `progress` hears the fraction of values written. Raises StoreError when the disk is full;
    nothing is left at `path` then.
    """
    writer = GGUFWriter(path, architecture)
    describe(writer)
    total = sum(t.values for t, _ in tensors) or 1
    for tensor, _ in tensors:
        block, size = GGML_QUANT_SIZES[tensor.type]
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), tensor.values // block * size, raw_dtype=tensor.type
        )
    whole = False
    with disk_errors(path):
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            done = 0
            for tensor, load in tensors:
                writer.write_tensor_data(load())
                done += tensor.values
                if progress is not None:
                    progress(done / total)
            writer.close()
            with path.open("rb") as file:
                os.fsync(file.fileno())
            whole = True
        finally:
            if not whole:
                with suppress(OSError):  # a full disk may fail once more; the first failure is the one to tell
                    writer.close()
                path.unlink(missing_ok=True)
