"""Number formats of the Hugging Face world: `quantization_config` in `config.json`, as vLLM and transformers read it.

Those of compressed-tensors are what its own presets write (version 0.17); AWQ and GPTQ are the older layouts of their
own. `LOADED` are those that transformers makes as it loads a model, with bitsandbytes or torchao.
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from quantcheck.errors import SpecError

__all__ = ["LOADED", "SCHEMES", "quantization_config"]

_PER_TOKEN = {"strategy": "token", "symmetric": True, "dynamic": True}


def _compressed(layout: str, weights: Mapping[str, Any], inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "format": layout,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {
            "targets": ["Linear"],
            "weights": {"dynamic": False, "symmetric": True, **weights},
            "input_activations": dict(inputs) if inputs else None,
            "output_activations": None,
        }},
        "kv_cache_scheme": None,
    }


_INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
_FP4 = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16,
        "scale_dtype": "torch.float8_e4m3fn"}

SCHEMES: Mapping[str, Mapping[str, Any] | None] = MappingProxyType({
    "bf16": None,
    "fp16": None,
    "fp32": None,
    "fp8-dynamic": _compressed("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"},
                               {"num_bits": 8, "type": "float", **_PER_TOKEN}),
    "fp8-block": _compressed(
        "float-quantized",
        {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]},
        {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 128, "symmetric": True, "dynamic": True}),
    "w8a8-int8": _compressed("int-quantized", {"num_bits": 8, "type": "int", "strategy": "channel"},
                             {"num_bits": 8, "type": "int", **_PER_TOKEN}),
    "w4a16": _compressed("pack-quantized", _INT4, None),
    "nvfp4": _compressed("nvfp4-pack-quantized", _FP4, {**_FP4, "symmetric": True, "dynamic": "local"}),
    "nvfp4a16": _compressed("nvfp4-pack-quantized", _FP4, None),
    "mxfp4": _compressed(
        "mxfp4-pack-quantized",
        {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"},
        {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "symmetric": True, "dynamic": True,
         "scale_dtype": "torch.uint8"}),
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm",
            "modules_to_not_convert": ["lm_head"]},
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True, "lm_head": False},
})
"""Scheme to `quantization_config`; None: the weights as they are."""


LOADED: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "bnb-int8": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "bnb-nf4": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": False},
    "bnb-fp4": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "fp4",
                "bnb_4bit_use_double_quant": False},
    "torchao-int8": {"quant_method": "torchao", "quant_type": "Int8WeightOnlyConfig"},
    # The layout of the kernel that is in torch itself; the others need a library of their own.
    "torchao-int4": {"quant_method": "torchao", "quant_type": "Int4WeightOnlyConfig", "group_size": 128,
                     "int4_packing_format": "tile_packed_to_4d"},
})
"""Scheme to what transformers is told to make of the weights: the arguments of its own configuration's class."""


def quantization_config(scheme: str) -> dict[str, Any] | None:
    """A copy of the scheme's `quantization_config`, None for an unquantized one; `SpecError` for an unknown name."""
    if scheme not in SCHEMES:
        near = difflib.get_close_matches(scheme, SCHEMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(SCHEMES)}"
        raise SpecError(f"scheme: there is no {scheme!r}; {hint}")
    found = SCHEMES[scheme]
    return None if found is None else dict(found)
