"""What a GGUF file's weights are made of: bytes by number format, bytes by how they are read, sizes of the model.

These are the facts that a roofline is drawn from; a recipe keeps them as `tensor_bytes`, `read_bytes` and
`architecture`.
"""

import re
from collections import Counter
from typing import Any

from gguf import GGML_QUANT_SIZES

from quantcheck.variants.gguf_file import GgufFile
from quantcheck.variants.mix import Tensor

__all__ = ["composition"]

_EMBEDDING, _HEAD = "token_embd.weight", "output.weight"
_MATRIX = re.compile(r"blk\.\d+\.(attn_(q|k|v|output)|ffn_(gate|up|down))\.weight")


def composition(file: GgufFile) -> dict[str, Any]:
    """`tensor_bytes`: type to bytes. `read_bytes`: of `layers` (all but the tables), `head` and `embedding`; with tied
    weights the one table is the head, and `embedding` is 0. `architecture`: sizes as `stats.roofline.Shape` takes them;
    None for a model with other matrices than a Llama's, such as experts, whose arithmetic would be counted wrong.
    """
    tensors = file.tensors
    by_type: Counter[str] = Counter()
    read = {"layers": 0, "head": 0, "embedding": 0}
    tied = all(tensor.name != _HEAD for tensor in tensors)
    for tensor in tensors:
        size = _bytes(tensor)
        by_type[tensor.type.name] += size
        if tensor.name == _HEAD or (tied and tensor.name == _EMBEDDING):
            read["head"] += size
        else:
            read["embedding" if tensor.name == _EMBEDDING else "layers"] += size
    return {
        "tensor_bytes": dict(sorted(by_type.items())),
        "read_bytes": read,
        "architecture": _architecture(file, tensors, tied),
    }


def _bytes(tensor: Tensor) -> int:
    block, size = GGML_QUANT_SIZES[tensor.type]
    return int(tensor.values // block * size)


def _architecture(file: GgufFile, tensors: list[Tensor], tied: bool) -> dict[str, Any] | None:
    matrices = [tensor for tensor in tensors if tensor.name.startswith("blk.") and len(tensor.shape) > 1
                and min(tensor.shape) > 1]
    tables = [tensor for tensor in tensors if tensor.name == _EMBEDDING]
    if not matrices or not tables or not all(_MATRIX.fullmatch(tensor.name) for tensor in matrices):
        return None
    vocabulary, hidden = tables[0].shape
    heads = file.value(f"{file.architecture}.attention.head_count")
    found = {
        "layers": file.value(f"{file.architecture}.block_count"),
        "hidden": hidden,
        "feed_forward": file.value(f"{file.architecture}.feed_forward_length"),
        "heads": heads,
        "kv_heads": file.value(f"{file.architecture}.attention.head_count_kv", heads),
        "head_size": file.value(f"{file.architecture}.attention.key_length") or _per_head(hidden, heads),
        "vocabulary": vocabulary,
    }
    # Sizes that change from layer to layer come as lists.
    if not all(isinstance(size, int) and size > 0 for size in found.values()):
        return None
    return {name: int(size) for name, size in found.items()} | {"tied": tied}


def _per_head(hidden: int, heads: Any) -> int | None:
    return hidden // heads if isinstance(heads, int) and heads > 0 else None
