"""The cache of artifacts: made once, reused when whole, made again when damaged, never half there."""

import json
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.errors import ModelError, StoreError
from quantcheck.variants.artifact import Artifact, Cache, cache_root, recipe_hash
from quantcheck.variants.hashing import Hashes

INPUTS = {"source": {"kind": "gguf", "sha256": "ab"}, "scheme": "gguf/Q4_0"}


class Maker:
    """Writes a file and counts how often it was asked to."""

    def __init__(self, content=b"weights"):
        self.content = content
        self.times = 0

    def __call__(self, folder):
        self.times += 1
        (folder / "model.gguf").write_bytes(self.content)
        return {"bits_per_weight": 4.5}


def test_an_artifact_is_made_once(tmp_path):
    cache, maker = Cache(tmp_path), Maker()
    first = cache.get_or_make("Q4_0", INPUTS, maker)
    again = Cache(tmp_path).get_or_make("Q4_0", INPUTS, maker)
    assert maker.times == 1
    assert first == again == cache.get("Q4_0", INPUTS)
    assert first.path.read_bytes() == b"weights"
    assert (first.bytes, first.scheme, first.bits_per_weight) == (7, "gguf/Q4_0", 4.5)
    assert first.recipe == json.loads((first.folder / "recipe.json").read_text())
    assert first.recipe["hash"] == recipe_hash(INPUTS)
    assert first.named("mine").name == "mine"


def test_other_inputs_make_another(tmp_path):
    cache, maker = Cache(tmp_path), Maker()
    cache.get_or_make("Q4_0", INPUTS, maker)
    other = cache.get_or_make("Q4_0", INPUTS | {"revision": 2}, maker)
    assert maker.times == 2
    assert cache.get("Q4_0", INPUTS | {"revision": 3}) is None
    assert other.folder != cache.get("Q4_0", INPUTS).folder


def shorten(folder):
    os.truncate(folder / "model.gguf", 3)


def flip(folder):
    (folder / "model.gguf").write_bytes(b"weighTs")


def remove(folder):
    (folder / "model.gguf").unlink()


def lose_recipe(folder):
    (folder / "recipe.json").unlink()


def break_recipe(folder):
    (folder / "recipe.json").write_text('{"hash": ')


def other_recipe(folder):
    (folder / "recipe.json").write_text('["a list"]')


def another_hash(folder):
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(recipe | {"hash": "0"}))


DAMAGES = [shorten, flip, remove, lose_recipe, break_recipe, other_recipe, another_hash]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_damaged_artifact_is_made_again(tmp_path, damage):
    cache, maker = Cache(tmp_path), Maker()
    artifact = cache.get_or_make("Q4_0", INPUTS, maker)
    damage(artifact.folder)
    assert cache.get("Q4_0", INPUTS) is None
    again = cache.get_or_make("Q4_0", INPUTS, maker)
    assert maker.times == 2
    assert again.path.read_bytes() == b"weights"


def test_a_failure_leaves_nothing_and_the_next_try_works(tmp_path):
    cache = Cache(tmp_path)

    def fail(folder):
        (folder / "model.gguf").write_bytes(b"half")
        raise ModelError("broken")

    with pytest.raises(ModelError):
        cache.get_or_make("Q4_0", INPUTS, fail)
    assert [p.name for p in cache.folder.iterdir() if p.is_dir()] == []
    assert cache.get_or_make("Q4_0", INPUTS, Maker()).bytes == 7


def test_what_a_killed_run_left_is_swept(tmp_path):
    cache = Cache(tmp_path)
    artifact = cache.get_or_make("Q4_0", INPUTS, Maker())
    shutil.rmtree(artifact.folder)
    left = artifact.folder.with_name(f".{artifact.folder.name}.making")
    left.mkdir()
    (left / "model.gguf").write_bytes(b"half of it")
    assert cache.get_or_make("Q4_0", INPUTS, Maker()).bytes == 7
    assert not left.exists()


def _make_slowly(root, counter):
    def make(folder):
        with counter.get_lock():
            counter.value += 1
        (folder / "model.gguf").write_bytes(b"x" * 100_000)
        return {"bits_per_weight": 1.0}

    assert Cache(Path(root)).get_or_make("Q4_0", INPUTS, make).bytes == 100_000


def test_processes_that_want_the_same_artifact_wait_for_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    counter = context.Value("i", 0)
    workers = [context.Process(target=_make_slowly, args=(str(tmp_path), counter)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [w.exitcode for w in workers] == [0] * 4
    assert counter.value == 1


def test_where_the_cache_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("QUANTCHECK_CACHE")
    assert cache_root() == tmp_path / "xdg" / "quantcheck"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "quantcheck"


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        Cache(tmp_path / "file")


def test_no_files_for_engines_that_serve_none():
    artifact = Artifact.none("fake")
    assert (artifact.name, artifact.bytes, artifact.scheme) == ("fake", 0, "none")


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5), st.none()), max_size=5))
def test_the_hash_does_not_depend_on_the_order_of_keys(inputs):
    assert recipe_hash(inputs) == recipe_hash(dict(reversed(inputs.items())))


def test_hashes_of_large_files_are_remembered_until_they_change(tmp_path, monkeypatch):
    monkeypatch.setattr("quantcheck.variants.hashing._REMEMBERED_BYTES", 4)
    file = tmp_path / "large"
    file.write_bytes(b"12345")
    memory = tmp_path / "hashes.json"
    true = Hashes(memory).of(file)
    known = json.loads(memory.read_text())
    known[str(file)]["sha256"] = "remembered"
    memory.write_text(json.dumps(known))
    assert Hashes(memory).of(file) == "remembered"
    file.write_bytes(b"12346!")
    changed = Hashes(memory).of(file)
    assert changed not in ("remembered", true)
    memory.write_text("not JSON")
    assert Hashes(memory).of(file) == changed


def test_a_missing_file_has_no_hash(tmp_path):
    with pytest.raises(ModelError, match="cannot read"):
        Hashes(tmp_path / "hashes.json").of(tmp_path / "missing")
