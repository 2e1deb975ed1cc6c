"""Into how many shares quality is cut, and how parts become cells: without Ray."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcheck.distributed.gather import Gather
from quantcheck.distributed.needs import Needs
from quantcheck.distributed.shares import how_many, places
from quantcheck.errors import MeasurementError
from quantcheck.quality.parts import Part
from quantcheck.store import CellKey, Store
from tests.distributed.test_placing import node

KEY = CellKey("quality", "Q4", "reference/knowledge", 0, "0" * 64)


@pytest.mark.parametrize(("needs", "expected"), [
    (Needs(0, 1, 0), 4 + 2), (Needs(0, 3, 0), 1 + 1), (Needs(0, None, 0), 2), (Needs(1, 1, 0), 2),
    (Needs(0, 1, 1 << 29), 2 + 2), (Needs(3, 1, 0), 0),
])
def test_places_are_counted_by_what_is_scarcest(needs: Needs, expected: int) -> None:
    assert places([node("a", cpus=4, gpus=2), node("b", cpus=2)], needs) == expected


@pytest.mark.parametrize(("there", "entries", "work", "starts", "expected"), [
    (6, 1, 1e6, False, 6),
    (6, 4, 1e6, False, 6),
    (6, 4, 5e4, False, 2),  # small shares would be all start
    (6, 4, 1e3, False, 1),
    (8, 3, 1e9, True, 3),  # an engine for each: no more than fill the cluster
    (2, 3, 1e9, True, 1),
    (8, 1, 3e6, True, 3),
])
def test_shares_follow_places_and_work(there: int, entries: int, work: float, starts: bool, expected: int) -> None:
    assert how_many(there, entries, work, starts=starts) == expected


def part(begin: int, end: int, digest: str = "d") -> Part:
    right = np.arange(begin, end) % 2 == 0
    return Part(begin, end, 6, {"kind": "task", "answers": "chosen", "suite_sha256": digest},
                {"id": np.array([f"i{place}" for place in range(begin, end)]), "right": right})


def record(node: str, started: float) -> dict[str, Any]:
    return {"started_at": started, "duration_s": 2.0, "engine": {}, "artifact_sha256": "a", "node": node}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "out")
    found.lock()
    return found


def gather(store: Store) -> Gather:
    found = Gather(store)
    found.expect(KEY, [(4, 6), (0, 2), (2, 4)])
    return found


def test_a_cell_is_stored_once_with_its_last_part(store: Store) -> None:
    parts = gather(store)
    for begin, host, started in ((4, "n2", 7.0), (0, "n1", 5.0)):
        parts.add(KEY, part(begin, begin + 2).packed(), record(host, started))
        parts.add(KEY, part(begin, begin + 2).packed(), record(host, started))  # told twice
        assert parts.store(KEY) is None
    assert not parts.has(KEY, (2, 4))
    parts.add(KEY, part(2, 4).packed(), record("n3", 6.0))
    assert parts.store(KEY) == 6.0
    assert parts.store(KEY) is None
    cell = store.cell(KEY)
    cell.verify()
    assert cell.record["result"] == {"kind": "task", "n": 6, "accuracy": 0.5, "answers": "chosen", "suite_sha256": "d"}
    assert cell.table("items")["id"].tolist() == [f"i{place}" for place in range(6)]
    assert cell.record["started_at"] == 5.0
    assert [one["node"] for one in cell.record["parts"]] == ["n1", "n3", "n2"]


def test_a_run_that_goes_on_has_its_parts_but_not_the_damaged_ones(store: Store) -> None:
    before = gather(store)
    for begin in (0, 2, 4):
        before.add(KEY, part(begin, begin + 2).packed(), record("n", 1.0))
    torn = next(path for path in store.work.rglob("0-2.npz"))
    torn.write_bytes(torn.read_bytes()[:60])
    parts = gather(store)
    assert [parts.has(KEY, span) for span in ((0, 2), (2, 4), (4, 6))] == [False, True, True]
    assert parts.store(KEY) is None
    other = Gather(store)
    other.expect(KEY, [(0, 3), (3, 6)])
    assert not other.has(KEY, (0, 3)), "another cut needs other parts"


def test_parts_of_unlike_files_are_refused_in_one_line(store: Store) -> None:
    parts = gather(store)
    for begin, digest in ((0, "d"), (2, "other"), (4, "d")):
        parts.add(KEY, part(begin, begin + 2, digest).packed(), record("n", 1.0))
    with pytest.raises(MeasurementError, match="give all nodes the same files") as raised:
        parts.store(KEY)
    assert "\n" not in str(raised.value)
    assert not store.has(KEY)
