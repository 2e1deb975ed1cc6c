"""From names in an experiment to artifacts."""

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from quantcheck.errors import ModelError, SpecError
from quantcheck.ggml.model import Model
from quantcheck.spec.experiment import Variant
from quantcheck.variants.convert import convert
from quantcheck.variants.gguf_file import GgufFile
from quantcheck.variants.make import prepare, scheme_of
from quantcheck.variants.mix import SCHEMES
from quantcheck.variants.quantize import quantize
from tests.variants import folders
from tests.variants.tables import tensor_hash

TEXT = "".join(folders.TEXT) * 12
LADDER = {s: Variant(scheme=f"gguf/{s}") for s in SCHEMES}


@pytest.fixture(scope="module")
def hf(tmp_path_factory):
    config = folders.config(hidden_size=256, intermediate_size=256, tie_word_embeddings=True)
    weights = {n: v.astype(np.float16) for n, v in folders.tensors(config).items()}
    return folders.save(tmp_path_factory.mktemp("models") / "hf", config, weights, folders.byte_level())


@pytest.fixture(scope="module")
def f16(hf):
    convert(hf, hf.parent / "f16.gguf")
    return hf.parent / "f16.gguf"


def with_imatrix(scheme, file, **more):
    return Variant.model_validate({"scheme": scheme, "quantize": {"imatrix": str(file), **more}})


def test_the_ladder_of_a_folder(hf, tmp_path):
    heard = []
    artifacts = prepare(str(hf), LADDER, cache=tmp_path, progress=heard.append)

    assert list(artifacts) == list(SCHEMES)
    assert heard == ["F16: convert to F16"] + [f"{s}: quantize to {s}" for s in list(SCHEMES)[1:]]
    for name, artifact in artifacts.items():
        assert artifact.name == name
        assert artifact.scheme == f"gguf/{name}"
        assert artifact.path.name == "model.gguf"
        assert artifact.bytes == artifact.path.stat().st_size
        assert (artifact.folder / "tokenizer.json").read_bytes() == (hf / "tokenizer.json").read_bytes()
        with Model(artifact.path) as model:
            assert model.parameters == artifact.recipe["parameters"]
    assert artifacts["F16"].bits_per_weight == pytest.approx(16, abs=0.1)
    assert artifacts["Q2_K"].bits_per_weight < 4.5

    again = prepare(str(hf), LADDER, cache=tmp_path, progress=heard.append)
    assert again == artifacts
    assert len(heard) == len(SCHEMES)


def test_a_recipe_says_what_went_in_and_what_came_out(hf, tmp_path):
    recipe = prepare(str(hf), {"q4": Variant(scheme="gguf/Q4_K_M")}, cache=tmp_path)["q4"].recipe
    assert recipe["schema_version"] == 1
    assert recipe["source"]["kind"] == "huggingface"
    assert len(recipe["source"]["sha256"]) == len(recipe["sha256"]) == 64
    assert recipe["scheme"] == "gguf/Q4_K_M"
    assert recipe["with"] == "quantcheck"
    assert recipe["imatrix"] is None
    assert recipe["tools"] == {"gguf": "0.19.0", "xllamacpp": "2026.10.11549"}
    assert recipe["tensor_types"]["Q4_K"] > 1
    json.dumps(recipe)


def test_changed_weights_make_new_artifacts(hf, tmp_path):
    copy = tmp_path / "copy"
    config = json.loads((hf / "config.json").read_text())
    folders.save(copy, config, folders.tensors(config, seed=1), folders.byte_level())
    variants = {"q8": Variant(scheme="gguf/Q8_0")}
    first = prepare(str(hf), variants, cache=tmp_path / "cache")["q8"]
    second = prepare(str(copy), variants, cache=tmp_path / "cache")["q8"]
    assert first.folder != second.folder
    assert first.recipe["source"] != second.recipe["source"]


def test_a_damaged_artifact_is_made_again(hf, tmp_path):
    variants = {"q8": Variant(scheme="gguf/Q8_0")}
    artifact = prepare(str(hf), variants, cache=tmp_path)["q8"]
    good = artifact.path.read_bytes()
    artifact.path.write_bytes(good[:-1] + b"!")
    assert prepare(str(hf), variants, cache=tmp_path)["q8"].path.read_bytes() == good


def test_a_gguf_model_gives_the_same_tensors_as_its_folder(hf, f16, tmp_path):
    of_folder = prepare(str(hf), LADDER, cache=tmp_path)
    of_file = prepare(str(f16), LADDER, cache=tmp_path)
    for scheme in SCHEMES:
        assert tensor_hash(of_folder[scheme].path) == tensor_hash(of_file[scheme].path)
    assert of_file["F16"].path.resolve() == f16  # linked to, not copied
    assert of_file["F16"].recipe["ready"] is True


def test_relative_paths_start_at_base(hf, f16, tmp_path):
    (hf.parent / "calibration.txt").write_text(TEXT)
    variants = {
        "a": Variant(scheme="gguf/Q8_0"),
        "b": Variant(checkpoint="f16.gguf"),
        "c": with_imatrix("gguf/Q4_0", "calibration.txt", imatrix_tokens=1024),
    }
    artifacts = prepare("hf", variants, base=hf.parent, cache=tmp_path)
    assert [a.scheme for a in artifacts.values()] == ["gguf/Q8_0", "gguf/F16", "gguf/Q4_0"]


def test_the_reference_model_is_a_folder_too(hf, tmp_path, monkeypatch):
    monkeypatch.setattr("quantcheck.reference.model_dir", lambda: hf, raising=False)
    artifact = prepare("reference", {"q8": Variant(scheme="gguf/Q8_0")}, cache=tmp_path)["q8"]
    assert artifact.recipe["source"]["kind"] == "huggingface"


def test_a_ready_checkpoint_needs_no_model(f16, tmp_path):
    quantize(f16, tmp_path / "ready.gguf", "Q4_K_M")
    variants = {"mine": Variant(checkpoint=str(tmp_path / "ready.gguf"))}
    artifact = prepare("no such model", variants, cache=tmp_path / "cache")["mine"]
    assert artifact.scheme == "gguf/Q4_K_M"
    assert artifact.bytes == (tmp_path / "ready.gguf").stat().st_size
    assert artifact.path.resolve() == tmp_path / "ready.gguf"
    named = {"mine": Variant(checkpoint=str(tmp_path / "ready.gguf"), scheme="gguf/Q4_K_M-special")}
    assert prepare("", named, cache=tmp_path / "cache")["mine"].scheme == "gguf/Q4_K_M-special"


def test_a_changed_checkpoint_is_another_artifact(f16, tmp_path):
    ready = tmp_path / "ready.gguf"
    variants = {"mine": Variant(checkpoint=str(ready))}
    quantize(f16, ready, "Q8_0")
    first = prepare("", variants, cache=tmp_path / "cache")["mine"]
    quantize(f16, ready, "Q4_0")
    second = prepare("", variants, cache=tmp_path / "cache")["mine"]
    assert (first.scheme, second.scheme) == ("gguf/Q8_0", "gguf/Q4_0")
    assert first.sha256 != second.sha256


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all" * 100], ids=["empty", "magic only", "text"])
def test_a_corrupt_checkpoint_is_refused_before_use(tmp_path, content):
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        prepare("", {"bad": Variant(checkpoint=str(tmp_path / "bad.gguf"))}, cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "bad.gguf") in str(caught.value)


def test_a_truncated_checkpoint_is_refused_before_use(f16, tmp_path):
    (tmp_path / "cut.gguf").write_bytes(f16.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="cut off"):
        prepare("", {"bad": Variant(checkpoint=str(tmp_path / "cut.gguf"))}, cache=tmp_path / "cache")


def test_an_importance_matrix_is_recorded_and_used(hf, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    variants = {
        "plain": Variant(scheme="gguf/Q3_K_M"),
        "a": with_imatrix("gguf/Q3_K_M", tmp_path / "text.txt", imatrix_tokens=1024),
        "b": with_imatrix("gguf/Q4_0", tmp_path / "text.txt", imatrix_tokens=1024),
    }
    heard = []
    artifacts = prepare(str(hf), variants, cache=tmp_path / "cache", progress=heard.append)
    assert sum("importance matrix" in line for line in heard) == 1  # one for both variants
    recipe = artifacts["a"].recipe
    assert recipe["imatrix"]["tokens"] == recipe["imatrix_tokens"] == 1024
    assert len(recipe["imatrix"]["data_sha256"]) == len(recipe["imatrix_tokens_sha256"]) == 64
    assert (artifacts["a"].folder / "imatrix.gguf").is_file()
    assert tensor_hash(artifacts["a"].path) != tensor_hash(artifacts["plain"].path)

    (tmp_path / "text.txt").write_text(TEXT[::-1])
    other = prepare(str(hf), {"a": variants["a"]}, cache=tmp_path / "cache")["a"]
    assert other.recipe["imatrix"]["data_sha256"] != recipe["imatrix"]["data_sha256"]


def test_llama_quantize_can_be_used(hf, f16, tmp_path, monkeypatch):
    """A stand-in that copies a file made before: what matters here is that it is asked, and noted."""
    quantize(f16, tmp_path / "made.gguf", "Q8_0")
    program = tmp_path / "bin" / "llama-quantize"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncp {tmp_path}/made.gguf "$2"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    variant = {"q8": Variant.model_validate({"scheme": "gguf/Q8_0", "quantize": {"with": "llama-quantize"}})}
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SpecError, match="needs llama-quantize on the PATH"):
        prepare(str(hf), variant, cache=tmp_path / "cache")
    monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")
    artifact = prepare(str(hf), variant, cache=tmp_path / "cache")["q8"]
    assert artifact.path.read_bytes() == (tmp_path / "made.gguf").read_bytes()
    assert artifact.recipe["with"] == "llama-quantize"
    assert len(artifact.recipe["tools"]["llama-quantize sha256"]) == 64


def test_schemes_are_named_in_full():
    assert scheme_of("gguf/Q4_K_M") == "Q4_K_M"
    for wrong, meant in {
        "gguf/Q4_KM": "gguf/Q4_K_M",
        "Q4_K_M": "gguf/Q4_K_M",
        "q8_0": "gguf/Q8_0",
        "gguf/fp16": "gguf/F16",
        "gguf/q2_k": "gguf/Q2_K",
    }.items():
        with pytest.raises(SpecError, match=f"unknown scheme '{wrong}' of variant 'x': did you mean '{meant}'"):
            scheme_of(wrong, "x")


MISTAKES = {
    "no such model": ("nowhere", {"scheme": "gguf/F16"}, SpecError, "model 'nowhere' is not there"),
    "no such file": ("nowhere.gguf", {"scheme": "gguf/F16"}, SpecError, "'nowhere.gguf' is not there"),
    "a hub name without an owner": ("hub:llama", {"scheme": "gguf/F16"}, SpecError, "is no hub name"),
    "a hub file that is no GGUF": ("hub:a/b/c.bin", {"scheme": "gguf/F16"}, SpecError, "a file that is no GGUF"),
    "a hub checkpoint without a file": ("", {"checkpoint": "hub:a/b"}, SpecError, "names no file"),
    "no such checkpoint": ("", {"checkpoint": "x.gguf"}, SpecError, "'x.gguf' is not there"),
    "no such calibration": ("", {"scheme": "gguf/Q4_0", "quantize": {"imatrix": "x.txt"}}, SpecError, "'x.txt'"),
    "an unknown scheme": ("", {"scheme": "gguf/Q9"}, SpecError, "unknown scheme 'gguf/Q9' of variant 'v'"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_line(tmp_path, case):
    model, variant, error, message = MISTAKES[case]
    with pytest.raises(error) as caught:
        prepare(model, {"v": Variant.model_validate(variant)}, base=tmp_path, cache=tmp_path / "cache")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_variants_are_checked_before_any_is_made(hf, tmp_path):
    variants = {"good": Variant(scheme="gguf/Q8_0"), "bad": Variant(scheme="gguf/Q9")}
    with pytest.raises(SpecError, match="'bad'"):
        prepare(str(hf), variants, cache=tmp_path)
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_a_folder_that_is_no_model(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        prepare("empty", {"v": Variant(scheme="gguf/F16")}, base=tmp_path, cache=tmp_path / "cache")


def test_calibration_that_is_no_text(hf, tmp_path):
    (tmp_path / "text.txt").write_bytes(b"\xff\xfe\x00\x80" * 1000)
    with pytest.raises(SpecError, match="cannot be read as UTF-8"):
        prepare(str(hf), {"v": with_imatrix("gguf/Q4_0", tmp_path / "text.txt")}, cache=tmp_path / "cache")


HUB = """
import sys
from pathlib import Path
from quantcheck.errors import ModelError
from quantcheck.spec.experiment import Variant
from quantcheck.variants.make import prepare

def try_it(model, **variant):
    try:
        print("made", prepare(model, {"v": Variant(**variant)}, cache=Path(sys.argv[1]))["v"].scheme)
    except ModelError as error:
        print("refused", error)

try_it("hub:tiny/llama", scheme="gguf/Q8_0")
try_it("tiny/llama", scheme="gguf/Q8_0")
try_it("hub:tiny/llama/f16.gguf", scheme="gguf/Q8_0")
try_it("", checkpoint="hub:tiny/llama/f16.gguf")
try_it("hub:tiny/other", scheme="gguf/Q8_0")
try_it("tiny/other", scheme="gguf/Q8_0")
try_it("", checkpoint="hub:tiny/llama/missing.gguf")
"""


def test_hub_models_come_from_the_local_hub_cache_when_offline(hf, f16, tmp_path):
    revision = "0" * 40
    repository = tmp_path / "home" / "hub" / "models--tiny--llama"
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    for file in (*hf.iterdir(), f16):
        (snapshot / file.name).symlink_to(file)
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    command = [sys.executable, "-c", HUB, str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    lines = done.stdout.splitlines()
    assert lines[:4] == ["made gguf/Q8_0", "made gguf/Q8_0", "made gguf/Q8_0", "made gguf/F16"]
    assert len(lines) == 7
    for line in lines[4:]:
        assert line.startswith("refused")
        assert "is not in the local hub cache and the hub cannot be reached" in line


def test_the_metadata_of_a_linked_file_is_untouched(f16, tmp_path):
    before = f16.read_bytes()
    prepare(str(f16), {"f": Variant(scheme="gguf/F16"), "q": Variant(scheme="gguf/Q4_0")}, cache=tmp_path)
    assert f16.read_bytes() == before
    assert GgufFile(f16).value("general.file_type") == 1
