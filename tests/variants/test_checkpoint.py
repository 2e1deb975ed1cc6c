import json
from pathlib import Path
from typing import Any

import pytest

from quantcheck import reference
from quantcheck.errors import ModelError
from quantcheck.variants.checkpoint import read_quantization
from quantcheck.variants.schemes import SCHEMES
from tests.variants import folders


def checkpoint(folder: Path, quantization: Any = None, shards: int = 1, **changes: Any) -> Path:
    made = folders.config(**changes)
    if quantization is not None:
        made["quantization_config"] = quantization
    return folders.save(folder, made, folders.tensors(folders.config()), stored_as="F16", shards=shards)


@pytest.mark.parametrize("scheme", [name for name, config in SCHEMES.items() if config])
def test_every_scheme_is_read_back_by_name(scheme: str, tmp_path: Path) -> None:
    found = read_quantization(checkpoint(tmp_path, SCHEMES[scheme]))
    assert found["scheme"] == scheme
    assert found["bits"] == (8 if "8" in scheme else 4)
    assert found["ignored"] == ["lm_head"]
    assert found["group_size"] == {"w4a16": 128, "awq": 128, "gptq": 128, "nvfp4": 16, "nvfp4a16": 16,
                                   "mxfp4": 32}.get(scheme)
    assert (found["activations"] is None) == (scheme in ("w4a16", "nvfp4a16", "awq", "gptq"))


def test_an_unquantized_model_is_named_by_its_dtype(tmp_path: Path) -> None:
    assert read_quantization(reference.model_dir())["scheme"] == "fp16"
    found = read_quantization(checkpoint(tmp_path, dtype="bfloat16"))
    assert (found["scheme"], found["quant_method"], found["bits"]) == ("bf16", None, None)


def test_another_group_size_has_no_scheme_name(tmp_path: Path) -> None:
    found = read_quantization(checkpoint(tmp_path / "gptq", {**(SCHEMES["gptq"] or {}), "group_size": 32}))
    assert (found["scheme"], found["bits"], found["group_size"]) == (None, 4, 32)
    found = read_quantization(checkpoint(tmp_path / "whole", {**(SCHEMES["gptq"] or {}), "group_size": -1}))
    assert (found["scheme"], found["group_size"]) == (None, None)


def test_asymmetric_compressed_tensors_is_not_w4a16(tmp_path: Path) -> None:
    config = json.loads(json.dumps(SCHEMES["w4a16"]))
    config["config_groups"]["group_0"]["weights"]["symmetric"] = False
    found = read_quantization(checkpoint(tmp_path, config))
    assert (found["scheme"], found["symmetric"], found["bits"]) == (None, False, 4)


def test_groups_that_differ_have_no_one_figure(tmp_path: Path) -> None:
    config = json.loads(json.dumps(SCHEMES["w4a16"]))
    config["config_groups"]["group_1"] = SCHEMES["w8a8-int8"]["config_groups"]["group_0"]  # type: ignore[index]
    found = read_quantization(checkpoint(tmp_path, config))
    assert (found["scheme"], found["bits"], found["groups"]) == (None, None, 2)


def test_kv_cache_scheme_and_defaults_left_out(tmp_path: Path) -> None:
    kv = {"num_bits": 8, "type": "float", "strategy": "tensor"}
    group = {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 128}}
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "kv_cache_scheme": kv}
    found = read_quantization(checkpoint(tmp_path, config))
    assert found["kv_cache"] == kv
    assert found["scheme"] == "w4a16"


def test_fp8_of_two_kinds(tmp_path: Path) -> None:
    blocks = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    assert read_quantization(checkpoint(tmp_path / "a", blocks))["scheme"] == "fp8-block"
    found = read_quantization(checkpoint(tmp_path / "b", {"quant_method": "fp8", "activation_scheme": "static"}))
    assert found["scheme"] is None
    assert found["activations"] == {"bits": 8, "type": "float", "dynamic": False}


@pytest.mark.parametrize(("file", "content", "method"), [
    ("quantize_config.json", {"bits": 4, "group_size": 128, "sym": True, "desc_act": True}, "gptq"),
    ("quant_config.json", {"w_bit": 4, "q_group_size": 128, "zero_point": True, "version": "GEMM"}, "awq"),
])
def test_a_file_of_its_own(file: str, content: dict[str, Any], method: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    (folder / file).write_text(json.dumps(content))
    found = read_quantization(folder)
    assert (found["quant_method"], found["scheme"]) == (method, method)


def test_a_method_that_is_not_known_is_named(tmp_path: Path) -> None:
    found = read_quantization(checkpoint(tmp_path, {"quant_method": "quark"}))
    assert (found["quant_method"], found["scheme"], found["bits"]) == ("quark", None, None)


@pytest.mark.parametrize("config", [
    {"bits": 4},
    {"quant_method": "gptq", "bits": 4},
    {"quant_method": "awq", "bits": "four", "group_size": 128},
    {"quant_method": "compressed-tensors"},
    {"quant_method": "compressed-tensors", "config_groups": {}},
    {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"type": "int"}}}},
    ["awq"],
])
def test_a_broken_configuration(config: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fetch"):
        read_quantization(checkpoint(tmp_path, config))


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        read_quantization(tmp_path)
    folder = checkpoint(tmp_path / "shards", shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="misses 1 of 2 weight files"):
        read_quantization(folder)
    folder = checkpoint(tmp_path / "none")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no"):
        read_quantization(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        read_quantization(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_weights_that_are_cut_off(keep: int, tmp_path: Path) -> None:
    file = checkpoint(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match="damaged or cut off"):
        read_quantization(tmp_path)
