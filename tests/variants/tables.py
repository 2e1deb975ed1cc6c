"""Tables of types in few lines: for each kind of tensor, its types layer by layer, runs folded."""

import hashlib
import re
from itertools import groupby
from pathlib import Path

from gguf import GGUFReader

_LAYER = re.compile(r"blk\.(\d+)\.")


def folded(types: dict[str, str]) -> dict[str, str]:
    """{"blk.0.attn_v.weight": "Q6_K", ...} to {"blk.*.attn_v.weight": "Q6_K*2 Q4_K*6"}, in layer order."""
    kinds: dict[str, dict[int, str]] = {}
    for name, kind in types.items():
        found = _LAYER.match(name)
        kinds.setdefault(_LAYER.sub("blk.*.", name), {})[int(found[1]) if found else 0] = kind
    lines = {}
    for name, layers in sorted(kinds.items()):
        assert sorted(layers) == list(range(len(layers))), name
        runs = [(kind, len(list(run))) for kind, run in groupby(layers[i] for i in range(len(layers)))]
        lines[name] = " ".join(kind if n == 1 else f"{kind}*{n}" for kind, n in runs)
    return lines


def tensor_hash(path: Path) -> str:
    """SHA-256 over name, type and bytes of all tensors of a GGUF file, by name; metadata left out."""
    total = hashlib.sha256()
    for tensor in sorted(GGUFReader(path).tensors, key=lambda t: t.name):
        total.update(f"{tensor.name} {int(tensor.tensor_type)} ".encode())
        total.update(tensor.data.tobytes())
    return total.hexdigest()
