"""A run copied to shared storage and back: a folder, fsspec's memory, and a real S3-compatible server."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from quantcheck.errors import StoreError
from quantcheck.store import CellKey, Store
from quantcheck.store.mirror import pull, push
from quantcheck.store.objects import Objects

KEYS = [CellKey("load", variant, "s@c1", 0, f"{place:064x}") for place, variant in enumerate("abc")]


def run(root: Path, keys: list[CellKey] = KEYS, hardware: str = "here") -> Store:
    store = Store(root)
    store.lock()
    for key in keys:
        store.write(key, {"result": {"metrics": {"ttft": 0.25}}}, {"requests": {"sent_s": np.arange(5.0)}})
    store.write_document("experiment.json", json.dumps({"experiment": {"name": "x"}, "hardware_id": hardware,
                                                        "cells": [key.id for key in keys]}))
    store.unlock()
    return store


def alike(one: Path, other: Path) -> bool:
    def files(root: Path) -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
                and ".lock" not in path.name}

    return files(one) == files(other)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket on a server of moto's, on loopback."""
    for name in ("moto", "s3fs", "flask"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed here: an S3-compatible server needs moto[server] and s3fs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    given = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
             "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    before = {key: os.environ.get(key) for key in given}
    os.environ.update(given)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, "the server ended"
            time.sleep(0.1)
        import s3fs

        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    finally:
        server.terminate()
        server.wait()
        for key, value in before.items():
            if value is None:
                os.environ.pop(key)
            else:
                os.environ[key] = value


@pytest.fixture(params=["folder", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    pytest.importorskip("fsspec")
    if request.param == "folder":
        return str(tmp_path / "shared" / "run")
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/run"
    return f"{request.getfixturevalue('s3')}/{uuid.uuid4().hex}"


def test_a_run_comes_back_bit_for_bit(tmp_path: Path, url: str) -> None:
    store = run(tmp_path / "one")
    assert push(store, url).new == 3
    other = Store(tmp_path / "other")
    assert pull(url, other).new == 3
    assert alike(store.root, other.root)
    assert not other.damaged()


def test_what_is_there_is_not_copied_again_and_parts_of_one_run_come_together(tmp_path: Path, url: str) -> None:
    push(run(tmp_path / "one", KEYS[:2]), url)
    copied = push(run(tmp_path / "two", KEYS[2:]), url)
    assert (copied.cells, copied.new) == (3, 1)
    assert push(Store(tmp_path / "two"), url).new == 0
    store = Store(tmp_path / "one")
    assert pull(url, store).new == 1
    assert sorted(cell.folder.name for cell in store.cells()) == sorted(key.id for key in KEYS)


def test_an_interrupted_push_shows_nothing_and_the_next_goes_on(tmp_path: Path, url: str,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    store = run(tmp_path / "one")
    put, count = Objects.put, iter(range(100))

    def breaks(self: Objects, path: Path) -> str:
        if next(count) == 3:
            raise KeyboardInterrupt
        return put(self, path)

    monkeypatch.setattr(Objects, "put", breaks)
    with pytest.raises(KeyboardInterrupt):
        push(store, url)
    with pytest.raises(StoreError, match="holds no run"):
        pull(url, Store(tmp_path / "other"))
    assert not (tmp_path / "other").exists()
    monkeypatch.undo()
    push(store, url)
    pull(url, Store(tmp_path / "other"))
    assert alike(store.root, tmp_path / "other")


def test_cells_of_another_machine_are_not_mixed_in(tmp_path: Path, url: str) -> None:
    push(run(tmp_path / "one"), url)
    with pytest.raises(StoreError, match="holds another run .its hardware_id"):
        push(run(tmp_path / "two", hardware="there"), url)
    with pytest.raises(StoreError, match="holds another run"):
        pull(url, Store(tmp_path / "two"))


def test_another_cell_under_the_same_name_is_refused(tmp_path: Path, url: str) -> None:
    push(run(tmp_path / "one"), url)
    two = run(tmp_path / "two", [])
    two.lock()
    two.write(KEYS[0], {"result": {"metrics": {"ttft": 0.5}}}, {"requests": {"sent_s": np.arange(6.0)}})
    two.unlock()
    with pytest.raises(StoreError, match="holds another a.s@c1"):
        push(two, url)
    with pytest.raises(StoreError, match="another cell than the one"):
        pull(url, two)


def test_a_damaged_cell_is_not_pushed(tmp_path: Path, url: str) -> None:
    store = run(tmp_path / "one")
    table = store.cell(KEYS[1]).folder / "requests.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="checksum"):
        push(store, url)


def objects_of(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "objects").rglob("*") if path.is_file())


def test_flipped_and_missing_objects_are_named_and_no_cell_is_made_of_them(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    shared = tmp_path / "shared"
    store = run(tmp_path / "one", KEYS[:1])
    push(store, str(shared))
    for path in objects_of(shared):
        kept = path.read_bytes()
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(StoreError, match="holds something else"):
            pull(str(shared), Store(tmp_path / f"flipped-{path.name}"))
        path.unlink()
        with pytest.raises(StoreError, match="cannot be read .FileNotFoundError"):
            pull(str(shared), Store(tmp_path / f"gone-{path.name}"))
        path.write_bytes(kept)
    for folder in tmp_path.glob("flipped-*"):
        assert not (folder / "experiment.json").exists()
        assert not list((folder / "cells").glob(".*"))


@pytest.mark.parametrize("change", [
    lambda d: d["documents"].update({"../x.json": "0" * 64}),
    lambda d: d["documents"].update({"summary.json": "../../x"}),
    lambda d: next(iter(d["cells"].values()))["files"].update({"../../x.json": "0" * 64}),
    lambda d: next(iter(d["cells"].values()))["key"].update({"variant": "z"}),
    lambda d: d.pop("cells"),
    lambda d: d.update(cells=[1]),
])
def test_a_manifest_that_no_push_wrote_is_refused_before_anything_is_written(tmp_path: Path, change: object) -> None:
    pytest.importorskip("fsspec")
    from quantcheck.store.sealed import sealed

    shared = tmp_path / "shared"
    push(run(tmp_path / "one", KEYS[:1]), str(shared))
    told = json.loads((shared / "run.json").read_text())
    change(told)  # type: ignore[operator]
    (shared / "run.json").write_text(json.dumps(sealed(told)))
    with pytest.raises(StoreError, match=r"run\.json is damaged"):
        pull(str(shared), Store(tmp_path / "other"))
    (shared / "run.json").write_text("{")
    with pytest.raises(StoreError, match=r"run\.json is damaged"):
        pull(str(shared), Store(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_unknown_storage_is_one_line_and_tells_no_password(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    store = run(tmp_path / "one", KEYS[:1])
    with pytest.raises(StoreError, match="is no storage") as told:
        push(store, "nowhere://user:secret@host/x")
    assert "secret" not in str(told.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="NotADirectoryError") as told:
        push(store, str(tmp_path / "file" / "x"))
    assert "\n" not in str(told.value)


def test_artifacts_are_found_by_what_they_hold(tmp_path: Path, url: str) -> None:
    objects, path = Objects(url), tmp_path / "model.gguf"
    path.write_bytes(os.urandom(3_000_000))
    digest = objects.put(path)
    assert objects.has(digest)
    assert not objects.has("0" * 64)
    assert objects.get(digest, tmp_path / "there" / "model.gguf").read_bytes() == path.read_bytes()
    with pytest.raises(StoreError, match="cannot be read"):
        objects.get("0" * 64, tmp_path / "none")
    assert not list(tmp_path.glob(".*.part"))


def test_what_came_for_a_cell_must_be_whole(tmp_path: Path) -> None:
    one, other = run(tmp_path / "one", KEYS[:1]), Store(tmp_path / "other")
    files = {path.name: path.read_bytes() for path in one.cell(KEYS[0]).folder.iterdir()}
    other.lock()
    try:
        for name in files:
            broken = {**files, name: files[name][:-2] + b"zz"}
            with pytest.raises(StoreError):
                other.adopt(KEYS[0], broken)
        with pytest.raises(StoreError, match="not what was sent"):
            other.adopt(KEYS[0], {"cell.json": files["cell.json"]})
        assert not list(other.cells())
        other.adopt(KEYS[0], files)
    finally:
        other.unlock()
    assert not other.damaged()
