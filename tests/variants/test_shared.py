"""Artifacts on shared storage: made once for all caches, checked when they come, and nothing where none is named."""

import json
from pathlib import Path

import pytest

from quantcheck.errors import StoreError
from quantcheck.store.sealed import sealed
from quantcheck.variants.artifact import Cache
from quantcheck.variants.shared import VARIABLE

INPUTS = {"source": {"kind": "gguf", "sha256": "ab"}, "scheme": "gguf/Q4_0"}


class Maker:
    """Writes a folder of two files and counts how often it was asked to."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path) -> dict[str, float]:
        self.times += 1
        (folder / "model" / "sub").mkdir(parents=True)
        (folder / "model" / "a.safetensors").write_bytes(b"weights")
        (folder / "model" / "sub" / "config.json").write_text("{}")
        return {"bits_per_weight": 4.5}


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    found = str(tmp_path / "shared") if request.param == "folder" else f"memory://{tmp_path.name}"
    monkeypatch.setenv(VARIABLE, found)
    return found


def get(cache: Path, make: Maker) -> bytes:
    artifact = Cache(cache).get_or_make("Q4_0", INPUTS, make, model="model")
    assert artifact.path == cache / "artifacts" / artifact.folder.name / "model"
    assert (artifact.path / "sub" / "config.json").read_text() == "{}"
    return (artifact.path / "a.safetensors").read_bytes()


@pytest.mark.usefixtures("url")
def test_another_machine_finds_what_one_has_made(tmp_path: Path) -> None:
    make = Maker()
    assert get(tmp_path / "one", make) == get(tmp_path / "two", make) == b"weights"
    assert make.times == 1
    recipes = [next(path.rglob("recipe.json")).read_text() for path in (tmp_path / "one", tmp_path / "two")]
    assert recipes[0] == recipes[1]


def test_nothing_is_shared_where_no_storage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    make = Maker()
    get(tmp_path / "one", make)
    get(tmp_path / "two", make)
    assert make.times == 2


def test_a_damaged_object_is_told_and_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = tmp_path / "shared"
    monkeypatch.setenv(VARIABLE, str(storage))
    make = Maker()
    get(tmp_path / "one", make)
    for path in (storage / "objects").rglob("*"):
        if path.is_file() and path.read_bytes() == b"weights":
            path.write_bytes(b"weighTs")
    with pytest.raises(StoreError, match="holds something else; delete it there"):
        get(tmp_path / "two", make)
    assert not list((tmp_path / "two" / "artifacts").glob("[!.]*")), "nothing half there"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', json.dumps({"files": {"a": "b"}, "sha256": "0"})])
def test_a_damaged_document_is_one_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = tmp_path / "shared"
    monkeypatch.setenv(VARIABLE, str(storage))
    get(tmp_path / "one", Maker())
    (document,) = storage.glob("artifacts-*.json")
    document.write_text(text)
    with pytest.raises(StoreError, match="delete it there"):
        get(tmp_path / "two", Maker())


@pytest.mark.parametrize("file", ["../../outside", "/etc/passwd", ""])
def test_no_file_is_written_outside_the_artifact(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = tmp_path / "shared"
    monkeypatch.setenv(VARIABLE, str(storage))
    get(tmp_path / "one", Maker())
    (document,) = storage.glob("artifacts-*.json")
    digest = next(iter(json.loads(document.read_text())["files"].values()))
    document.write_text(json.dumps(sealed({"files": {file: digest}})))
    with pytest.raises(StoreError, match="outside the artifact"):
        get(tmp_path / "two", Maker())


def test_storage_that_cannot_be_reached_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Maker()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file" / "below"))
    with pytest.raises(StoreError, match="cannot be"):
        get(tmp_path / "one", make)
    monkeypatch.delenv(VARIABLE)
    get(tmp_path / "one", make)


def test_what_is_only_linked_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "shared"))
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.safetensors").write_bytes(b"mine")

    def link(folder: Path) -> dict[str, float]:
        (folder / "model").symlink_to(own)
        return {"bits_per_weight": 16.0}

    Cache(tmp_path / "one").get_or_make("linked", INPUTS, link, model="model")
    assert not (tmp_path / "shared").exists()
