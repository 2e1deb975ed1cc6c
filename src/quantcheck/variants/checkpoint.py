"""What a Hugging Face folder says of its own quantization: compressed-tensors, AWQ, GPTQ, FP8 and others.

The configuration is read from `config.json`, or from the file of their own that older AWQ, GPTQ and ModelOpt
checkpoints have. Only small files and the heads of the weights are read.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantcheck.errors import ModelError
from quantcheck.variants.schemes import SCHEMES
from quantcheck.variants.weights import weight_files

__all__ = ["read_quantization"]

_OWN_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq", "hf_quant_config.json": "modelopt"}
_DTYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
_IGNORED = ("ignore", "modules_to_not_convert", "ignored_layers", "llm_int8_skip_modules", "exclude_modules")
_MOST_HEAD_BYTES = 100_000_000  # the safetensors format's own limit
# What tells one number format from another; the rest (observers, order of columns) is how it was made.
_FORMAT = ("num_bits", "type", "strategy", "group_size", "block_structure", "symmetric", "dynamic")


def read_quantization(folder: Path) -> dict[str, Any]:
    """The quantization of the checkpoint in `folder`, as facts for a recipe.

    `scheme` (a name of `variants.schemes`, None where none means the same), `quant_method` (None: not quantized),
    `format`, `bits` of a weight, `group_size` (None: no groups), `symmetric`, `activations` (None: not quantized, else
    `bits`, `type`, `dynamic`), `ignored` modules, `kv_cache`, `dtype` of what is not quantized. A key is None where
    the configuration does not say, and where its groups of modules differ. `groups` is how many there are.

    Raises `ModelError` for a configuration that is missing or broken, and for weights that are missing or cut off.
    """
    config = _json(folder / "config.json")
    for file in weight_files(folder):
        _check_head(file)
    dtype = config.get("dtype") or config.get("torch_dtype")
    dtype = str(dtype).removeprefix("torch.") if dtype else None
    found = _configuration(folder, config)
    if found is None:
        return _facts(scheme=_DTYPES.get(dtype or ""), dtype=dtype)
    method = found.get("quant_method")
    if not isinstance(method, str):
        raise ModelError(f"{folder}: its quantization configuration has no `quant_method`: fetch the checkpoint again")
    try:
        facts = _READERS.get(method, _other)(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder}: its {method} configuration is broken ({type(error).__name__}: {error}): "
                         "fetch the checkpoint again") from error
    ignored: Any = next((found[key] for key in _IGNORED if found.get(key)), [])
    if not isinstance(ignored, list):
        raise ModelError(f"{folder}: the modules that its {method} configuration ignores are no list")
    return _facts(**{"quant_method": method, "dtype": dtype, "ignored": [str(name) for name in ignored]} | facts)


def _facts(**known: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("scheme", "quant_method", "format", "bits", "group_size", "symmetric", "activations"))
    return {**empty, "ignored": [], "kv_cache": None, "groups": 0, "dtype": None} | known


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path.parent} is not a Hugging Face model folder: it holds no {path.name}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged: fetch it again") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is damaged: it holds no JSON object; fetch it again")
    return content


def _configuration(folder: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    found = config.get("quantization_config") or config.get("compression_config")
    if found is None:
        text = config.get("text_config")  # of a model that also takes images
        found = text.get("quantization_config") if isinstance(text, dict) else None
    if found is not None:
        if not isinstance(found, dict):
            raise ModelError(f"{folder / 'config.json'}: `quantization_config` is no JSON object; fetch it again")
        return found
    for name, method in _OWN_FILES.items():
        if (folder / name).is_file():
            content = _json(folder / name)
            inner = content.get("quantization", content)
            return {"quant_method": method} | (inner if isinstance(inner, dict) else {})
    return None


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"`{name}` is {value!r}, not a whole number")
    return value


def _compressed_tensors(found: Mapping[str, Any]) -> dict[str, Any]:
    groups = list(found["config_groups"].values())
    if not groups:
        raise ValueError("`config_groups` is empty")
    weights = [_arguments(group.get("weights")) for group in groups]
    inputs = [_arguments(group.get("input_activations")) for group in groups]
    one = all(w == weights[0] and i == inputs[0] for w, i in zip(weights, inputs, strict=True))
    facts: dict[str, Any] = {"format": found.get("format"), "kv_cache": found.get("kv_cache_scheme"),
                             "groups": len(groups)}
    if not one:
        return facts
    weight, activation = weights[0], inputs[0]
    if weight is None:
        return facts | {"activations": _activations(activation)}
    return facts | {
        "scheme": next((name for name, known in SCHEMES.items() if _means(known, weight, activation)), None),
        "bits": weight["num_bits"],
        "group_size": weight["group_size"],
        "symmetric": weight["symmetric"],
        "activations": _activations(activation),
    }


def _arguments(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Quantization arguments with compressed-tensors' own defaults filled in."""
    if given is None:
        return None
    full = {"type": "int", "symmetric": True, "dynamic": False} | {k: v for k, v in given.items() if v is not None}
    _whole(full["num_bits"], "num_bits")
    group = full.get("group_size")
    group = None if group in (None, -1) else _whole(group, "group_size")
    blocks = full.get("block_structure")
    by_size = "group" if group else "channel" if given.get("group_size") == -1 else "tensor"
    strategy = full.get("strategy") or ("block" if blocks else by_size)
    if isinstance(blocks, str):  # older versions wrote 128x128
        blocks = [int(side) for side in blocks.split("x")]
    filled = full | {"group_size": group, "strategy": strategy, "block_structure": blocks}
    return {key: filled[key] for key in _FORMAT}


def _means(known: Mapping[str, Any] | None, weight: Mapping[str, Any], activation: Mapping[str, Any] | None) -> bool:
    if known is None or known["quant_method"] != "compressed-tensors":
        return False
    group = known["config_groups"]["group_0"]
    return _arguments(group["weights"]) == weight and _arguments(group["input_activations"]) == activation


def _activations(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if found is None else {"bits": found["num_bits"], "type": found["type"], "dynamic": found["dynamic"]}


def _awq(found: Mapping[str, Any]) -> dict[str, Any]:
    bits = _whole(found.get("bits", found.get("w_bit")), "bits")
    group = _whole(found.get("group_size", found.get("q_group_size")), "group_size")
    symmetric = not found.get("zero_point", True)
    scheme = "awq" if (bits, group, symmetric) == (4, 128, False) else None
    return {"scheme": scheme, "format": found.get("version", "gemm"), "bits": bits,
            "group_size": group if group > 0 else None, "symmetric": symmetric, "groups": 1}


def _gptq(found: Mapping[str, Any]) -> dict[str, Any]:
    bits, group = _whole(found["bits"], "bits"), _whole(found["group_size"], "group_size")
    symmetric = bool(found.get("sym", True))
    scheme = "gptq" if (bits, group, symmetric) == (4, 128, True) else None
    return {"scheme": scheme, "format": found.get("checkpoint_format", "gptq"), "bits": bits,
            "group_size": group if group > 0 else None, "symmetric": symmetric, "groups": 1,
            "ignored": [] if found.get("lm_head") else ["lm_head"]}


def _fp8(found: Mapping[str, Any]) -> dict[str, Any]:
    blocks = found.get("weight_block_size")
    dynamic = found.get("activation_scheme", "dynamic") == "dynamic"
    # A scale for each tensor is coarser than fp8-dynamic's for each channel: it has no name among the schemes.
    return {"scheme": "fp8-block" if blocks == [128, 128] and dynamic else None,
            "format": "block" if blocks else "tensor", "bits": 8, "symmetric": True, "groups": 1,
            "activations": {"bits": 8, "type": "float", "dynamic": dynamic}}


def _bitsandbytes(found: Mapping[str, Any]) -> dict[str, Any]:
    four = bool(found.get("load_in_4bit"))
    return {"bits": 4 if four else 8, "format": found.get("bnb_4bit_quant_type") if four else "int8", "groups": 1}


def _other(_found: Mapping[str, Any]) -> dict[str, Any]:
    return {}


_READERS = {"compressed-tensors": _compressed_tensors, "awq": _awq, "gptq": _gptq, "fp8": _fp8,
            "bitsandbytes": _bitsandbytes}


def _check_head(file: Path) -> None:
    """The tensors that a safetensors file lists must fill it to its last byte."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > min(size, _MOST_HEAD_BYTES):
                raise ValueError("head")
            head = json.loads(opened.read(length))
        end = max((entry["data_offsets"][1] for name, entry in head.items() if name != "__metadata__"), default=0)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
        raise ModelError(f"{file} is damaged or cut off: fetch it again") from error
    if 8 + length + end != size:
        raise ModelError(f"{file} is damaged or cut off: {size} bytes of {8 + length + end}; fetch it again")
