"""Hugging Face folders as artifacts: weightless, as they are, and ready checkpoints."""

import json
import shutil
from pathlib import Path

import pytest

from quantcheck import reference
from quantcheck.errors import EngineUnavailable, ModelError, QuantcheckError, SpecError
from quantcheck.spec.variant import Variant
from quantcheck.variants.folders import prepare_folders
from quantcheck.variants.shapes import shape_config
from quantcheck.variants.weight_bytes import weight_bytes


def nobody() -> Path:
    raise EngineUnavailable("not installed")


def prepare(cache: Path, variants: dict[str, Variant], *, model: str = "reference", random: bool = False) -> dict:  # type: ignore[type-arg]
    return prepare_folders(model, variants, random=random, compressor=nobody, cache=cache)


def test_random_weights_are_a_configuration_and_a_prediction(tmp_path: Path) -> None:
    found = prepare(tmp_path, {"fp16": Variant(scheme="fp16"), "awq": Variant(scheme="awq")},
                    model="shape:mistral-7b", random=True)
    fp16, awq = found["fp16"], found["awq"]
    assert json.loads((fp16.path / "config.json").read_text())["torch_dtype"] == "float16"
    assert json.loads((awq.path / "config.json").read_text())["quantization_config"]["quant_method"] == "awq"
    assert not list(awq.path.glob("*.safetensors"))
    assert fp16.bytes == weight_bytes(shape_config("mistral-7b"))
    assert sum(fp16.recipe["read_bytes"].values()) == fp16.bytes
    assert fp16.recipe["engine_args"] == {"load-format": "dummy"}
    assert awq.bytes < 0.35 * fp16.bytes
    assert awq.sha256 != fp16.sha256
    again = prepare(tmp_path, {"awq": Variant(scheme="awq")}, model="shape:mistral-7b", random=True)["awq"]
    assert again.path == awq.path


def test_the_model_as_it_is_is_linked_and_never_dummy(tmp_path: Path) -> None:
    found = prepare(tmp_path, {"plain": Variant(), "fp16": Variant(scheme="fp16")})
    source = reference.model_dir()
    assert found["plain"].path.resolve() == source.resolve()
    assert found["plain"].recipe["engine_args"] == {}
    assert found["fp16"].recipe["engine_args"] == {"dtype": "float16"}
    assert found["fp16"].bytes == sum(file.stat().st_size for file in source.glob("*.safetensors"))
    assert found["plain"].recipe["vocabulary"] == json.loads((source / "config.json").read_text())["vocab_size"]


@pytest.mark.parametrize(("scheme", "least", "most"), [
    ("fp32", 1.99, 2.01), ("bf16", 0.99, 1.0), ("bnb-int8", 0.55, 0.60), ("bnb-nf4", 0.36, 0.40),
])
def test_the_size_is_that_of_what_is_loaded(tmp_path: Path, scheme: str, least: float, most: float) -> None:
    """The same files in another format; their own size would be called the same."""
    found = prepare(tmp_path, {"fp16": Variant(scheme="fp16"), "made": Variant(scheme=scheme)})
    assert found["made"].path.resolve() == found["fp16"].path.resolve()
    assert least <= found["made"].bytes / found["fp16"].bytes <= most


def test_what_a_family_that_is_not_counted_becomes_is_no_size(tmp_path: Path) -> None:
    source = tmp_path / "model"
    shutil.copytree(reference.model_dir(), source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"model_type": "another"}))
    found = prepare(tmp_path / "cache", {"fp16": Variant(scheme="fp16"), "int8": Variant(scheme="bnb-int8")},
                    model=str(source))
    assert found["fp16"].bytes == sum(file.stat().st_size for file in source.glob("*.safetensors"))
    assert found["int8"].bytes == 0


def test_names_are_checked_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="fp8-dynmic"):
        prepare(tmp_path, {"a": Variant(scheme="fp16"), "b": Variant(scheme="fp8-dynmic")})
    with pytest.raises(SpecError, match="did you mean"):
        prepare(tmp_path, {"b": Variant(scheme="fp8-dynmic")}, model="shape:mistral-7b", random=True)
    assert not list((tmp_path / "artifacts").glob("[!.]*"))


def test_quantizing_needs_llm_compressor(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable):
        prepare(tmp_path, {"a": Variant(scheme="fp8-dynamic")})


def test_a_broken_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError):
        prepare(tmp_path / "cache", {"a": Variant(checkpoint=str(folder))})


def test_an_artifact_whose_files_were_changed_is_made_again(tmp_path: Path) -> None:
    variant = {"a": Variant(scheme="fp8-dynamic")}
    made = prepare(tmp_path, variant, model="shape:llama-3.2-1b", random=True)["a"]
    config = made.path / "config.json"
    whole = config.read_bytes()
    config.write_bytes(whole.replace(b"fp8", b"fp7") if b"fp8" in whole else whole[:-2] + b" }")
    again = prepare(tmp_path, variant, model="shape:llama-3.2-1b", random=True)["a"]
    assert (again.path / "config.json").read_bytes() == whole


@pytest.mark.parametrize("broken", [
    "[]", "7", "null", "{", "", '{"quantization_config": {"quant_method": 7}}',
    '{"quantization_config": {"quant_method": "compressed-tensors", "config_groups": []}}',
])
def test_a_configuration_that_cannot_be_is_one_line_or_left_to_the_engine(tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(reference.model_dir(), folder)
    (folder / "config.json").write_text(broken)
    try:
        made = prepare(tmp_path / "cache", {"a": Variant(checkpoint=str(folder))})["a"]
    except ModelError as error:
        assert "\n" not in str(error)
        assert "broken" in str(error)
    else:
        assert made.recipe["architecture"] is None


@pytest.mark.parametrize("change", [
    {"num_hidden_layers": "x"}, {"hidden_size": []}, {"num_attention_heads": 0}, {"vocab_size": None},
    {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {
        "g": {"weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 0}}}}},
])
def test_sizes_that_cannot_be_only_cost_the_roofline(tmp_path: Path, change: dict[str, object]) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(reference.model_dir(), folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("head_dim")
    (folder / "config.json").write_text(json.dumps(config | change))
    made = prepare(tmp_path / "cache", {"a": Variant(checkpoint=str(folder))})["a"]
    assert made.recipe["architecture"] is None
    assert "read_bytes" not in made.recipe


def test_one_variant_that_cannot_be_made_leaves_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    failed: dict[str, QuantcheckError] = {}
    variants = {"a": Variant(), "b": Variant(checkpoint=str(folder)), "c": Variant(scheme="fp8-dynamic"),
                "d": Variant(scheme="bf16")}
    made = prepare_folders("reference", variants, random=False, compressor=nobody, cache=tmp_path / "cache",
                           on_failure=failed.__setitem__)
    assert list(made) == ["a", "d"]
    assert {name: type(error) for name, error in failed.items()} == {"b": ModelError, "c": EngineUnavailable}


def test_a_missing_checkpoint_or_calibration_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    awq = {"scheme": "awq", "quantize": {"calibration": {"dataset": "none.jsonl"}}}
    for wrong in (Variant(checkpoint=str(tmp_path / "none")), Variant.model_validate(awq)):
        with pytest.raises(SpecError, match="none"):
            prepare(tmp_path / "cache", {"a": Variant(), "b": wrong})
    assert not list((tmp_path / "cache" / "artifacts").glob("[!.]*"))
