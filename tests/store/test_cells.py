"""Cells: whole or not at all, and the same when read back."""

import errno
import fcntl
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from quantcheck.errors import StoreError
from quantcheck.store import CellKey, Store

KEY = CellKey("load", "F16@again", "short@c8", 2, "ab" * 32)
TABLE = {
    "id": np.array(["a", "ü\n", ""]),
    "right": np.array([True, False, True]),
    "at_s": np.array([1.5, np.nan, -0.0]),
    "n": np.array([1, 2, 3], dtype=np.int32),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.lock()
    return store


def test_what_is_written_is_read_back(store: Store) -> None:
    store.write(KEY, {"result": {"x": 1}}, {"items": TABLE, "none": {"v": np.zeros(0), "s": np.array([], dtype=str)}})
    assert store.has(KEY)
    cell = store.cell(KEY)
    assert cell.key == KEY
    assert cell.record["result"] == {"x": 1}
    read = cell.table("items")
    assert list(read) == list(TABLE)
    assert read["id"].tolist() == TABLE["id"].tolist()
    assert read["right"].dtype == np.bool_
    np.testing.assert_array_equal(read["at_s"], TABLE["at_s"])
    assert read["n"].dtype == np.int32
    assert len(cell.table("none")["v"]) == 0
    assert [cell.key for cell in store.cells()] == [KEY]


def test_a_folder_name_is_readable_and_has_no_separator() -> None:
    key = CellKey("quality", "a b/../c", "reference/arithmetic", 0, "0" * 64)
    assert "/" not in key.id
    assert key.id.endswith("-000000000000")


@pytest.mark.parametrize("failing", ["replace", "rename"])
def test_a_full_disk_leaves_nothing_and_keeps_the_rest(
    store: Store, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    store.write(CellKey("load", "a", "s", 0, "1" * 64), {}, {})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, failing, full)
    with pytest.raises(StoreError, match="No space left on device.*finished cells are kept"):
        store.write(KEY, {}, {"items": TABLE})
    monkeypatch.undo()
    assert not store.has(KEY)
    assert len(list(store.cells())) == 1
    assert list((store.root / "cells").glob(".*")) == []


def test_what_a_killed_run_left_is_swept(store: Store) -> None:
    leftover = store.root / "cells" / ".writing-x"
    leftover.mkdir()
    (leftover / "items.parquet").write_bytes(b"half")
    store.unlock()
    again = Store(store.root)
    again.lock()
    assert not leftover.exists()
    assert list(again.cells()) == []


def test_two_runs_cannot_write_the_same_results(store: Store) -> None:
    with pytest.raises(StoreError, match="another quantcheck is writing here"):
        Store(store.root).lock()
    store.unlock()
    Store(store.root).lock()


def test_a_damaged_cell_says_what_to_do(store: Store) -> None:
    folder = store.write(KEY, {}, {"items": TABLE}).folder
    (folder / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="delete its folder and run again"):
        store.cell(KEY).table("items")
    (folder / "cell.json").write_text("{")
    with pytest.raises(StoreError, match="delete its folder and run again"):
        _ = store.cell(KEY).record


def test_another_schema_is_refused(store: Store) -> None:
    folder = store.write(KEY, {}, {}).folder
    record = json.loads((folder / "cell.json").read_text())
    (folder / "cell.json").write_text(json.dumps({"key": record["key"], "schema": 99}))
    with pytest.raises(StoreError, match="schema 99"):
        _ = store.cell(KEY).record


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "file" / "results").lock()


def test_nan_cannot_hide_in_a_record(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.write(KEY, {"result": float("nan")}, {})
    assert not store.has(KEY)


def test_who_looks_keeps_no_writer_out_and_sees_one(store: Store) -> None:
    looking = os.open(store.root / ".lock", os.O_RDONLY)
    store.unlock()
    assert not store.locked()
    fcntl.flock(looking, fcntl.LOCK_SH)
    assert not store.locked(), "another one who looks is no writer"
    let_go = threading.Timer(0.03, fcntl.flock, (looking, fcntl.LOCK_UN))
    let_go.start()
    writer = Store(store.root)
    writer.lock()
    assert store.locked()
    let_go.join()
    writer.unlock()
    os.close(looking)
    assert not store.locked()


def test_looking_makes_nothing(tmp_path: Path) -> None:
    assert not Store(tmp_path / "none").locked()
    assert not Store(tmp_path).locked()
    assert list(tmp_path.iterdir()) == []


def test_a_cell_that_is_put_by_comes_back_unless_a_new_one_takes_its_place(store: Store) -> None:
    first = store.write(KEY, {"result": {"try": 1}}, {"items": TABLE})
    before = (first.folder / "cell.json").read_bytes()
    store.put_by(KEY)
    assert not store.has(KEY)
    killed = Store(store.root)  # the process is gone, and its lock with it
    os.close(store._lock)  # type: ignore[arg-type]
    killed.lock()
    assert (killed.cell(KEY).folder / "cell.json").read_bytes() == before
    killed.put_by(KEY)
    killed.unlock()
    assert (killed.cell(KEY).folder / "cell.json").read_bytes() == before
    killed.lock()
    killed.put_by(KEY)
    killed.write(KEY, {"result": {"try": 2}}, {"items": TABLE})
    killed.unlock()
    assert killed.cell(KEY).record["result"] == {"try": 2}
    assert [folder.name for folder in (killed.root / "cells").iterdir()] == [KEY.id]


def test_killed_between_the_new_cell_and_the_end_of_the_old(store: Store) -> None:
    store.write(KEY, {"result": {"try": 1}}, {})
    store.put_by(KEY)
    old = store.root / "cells" / f".again-{KEY.id}"
    new = store.root / "cells" / KEY.id
    shutil.copytree(old, new)
    (new / "new").touch()
    store.unlock()
    assert (new / "new").exists()
    assert not old.exists()


def test_a_lock_on_a_file_that_was_removed_keeps_nobody_in(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.unlock()
    path, real, removed = store.root / ".lock", os.open, False

    def opened(name: os.PathLike[str], *how: int) -> int:
        nonlocal removed
        handle = real(name, *how)
        if Path(name) == path and not removed:
            path.unlink()  # by another process, which removes the run
            removed = True
        return handle

    monkeypatch.setattr(os, "open", opened)
    store.lock()
    assert removed
    assert store.locked()
    with pytest.raises(StoreError, match="another quantcheck"):
        Store(store.root).lock()


def test_what_a_killed_load_left_is_swept(store: Store) -> None:
    (store.work / "quantcheck-load-x").mkdir()
    (store.work / "quantcheck-load-x" / "bodies.bin").touch()
    (store.work / "logits-x.f32").touch()
    store.unlock()
    Store(store.root).lock()
    assert [path.name for path in store.work.iterdir()] == ["logits-x.f32"]


def test_cells_without_checksums_are_counted(store: Store) -> None:
    path = store.write(KEY, {"result": {}}, {}).folder / "cell.json"
    store.unlock()
    document = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in document.items() if key not in ("sha256", "tables")}
                               | {"schema": 1}))
    assert any(words.startswith("1 cells are of schema 1") for words in Store(store.root).lock())
