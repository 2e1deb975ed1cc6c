"""What a recipe says of a GGUF file's weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from quantcheck.spec.experiment import Variant
from quantcheck.variants.composition import composition
from quantcheck.variants.gguf_file import GgufFile
from quantcheck.variants.make import prepare
from tests.variants import folders

VARIANTS = {"F16": Variant(scheme="gguf/F16"), "Q4_K_M": Variant(scheme="gguf/Q4_K_M")}


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def made(request, tmp_path_factory):
    config = folders.config(hidden_size=256, intermediate_size=512, tie_word_embeddings=request.param)
    weights = {n: v.astype(np.float16) for n, v in folders.tensors(config).items()}
    root = tmp_path_factory.mktemp("composition")
    folder = folders.save(root / "hf", config, weights, folders.byte_level())
    return config, folder, root / "cache", prepare(str(folder), VARIANTS, cache=root / "cache")


@pytest.mark.parametrize("name", VARIANTS)
def test_bytes_add_up_to_the_tensors(made, name):
    _, _, _, artifacts = made
    recipe = artifacts[name].recipe
    data = recipe["bits_per_weight"] * recipe["parameters"] / 8
    assert sum(recipe["tensor_bytes"].values()) == pytest.approx(data, abs=1)
    assert sum(recipe["read_bytes"].values()) == sum(recipe["tensor_bytes"].values())
    assert set(recipe["tensor_bytes"]) == set(recipe["tensor_types"])


def test_sizes_are_those_of_the_configuration(made):
    config, _, _, artifacts = made
    tied = config["tie_word_embeddings"]
    for artifact in artifacts.values():
        assert artifact.recipe["architecture"] == {
            "layers": config["num_hidden_layers"], "hidden": 256, "feed_forward": 512,
            "heads": config["num_attention_heads"], "kv_heads": config["num_key_value_heads"],
            "head_size": 256 // config["num_attention_heads"], "vocabulary": config["vocab_size"], "tied": tied,
        }
    table = config["vocab_size"] * 256 * 2
    read = artifacts["F16"].recipe["read_bytes"]
    assert (read["head"], read["embedding"]) == ((table, 0) if tied else (table, table))


def test_an_older_recipe_gets_it_now(made):
    _, folder, cache, artifacts = made
    path = artifacts["F16"].folder / "recipe.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    older = {key: value for key, value in whole.items() if key not in ("tensor_bytes", "read_bytes", "architecture")}
    path.write_text(json.dumps(older), encoding="utf-8")

    again = prepare(str(folder), VARIANTS, cache=cache)["F16"]
    assert dict(again.recipe) == whole
    assert json.loads(path.read_text(encoding="utf-8")) == whole
    assert again.sha256 == artifacts["F16"].sha256


def test_another_kind_of_model_has_no_architecture(made, monkeypatch):
    _, _, _, artifacts = made
    file = GgufFile(artifacts["F16"].path)
    tensors = file.tensors
    strange = [type(t)(t.name.replace("ffn_up", "ffn_up_exps"), t.shape, t.type) for t in tensors]
    monkeypatch.setattr(GgufFile, "tensors", property(lambda _self: strange))
    assert composition(file)["architecture"] is None
    assert composition(file)["tensor_bytes"] == artifacts["F16"].recipe["tensor_bytes"]


def test_no_file_of_the_cache_is_left_half_written(made):
    _, _, cache, _ = made
    assert not list(Path(cache).rglob("*.part"))
