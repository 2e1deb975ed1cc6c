"""Raw samples as tables: every request and every chunk is there, with times after the window's beginning."""

import numpy as np
import pytest

from quantcheck.load.raw import raw_table, tables
from quantcheck.load.records import Record
from tests.load.test_records import MS, WHOLE, read


def test_tables() -> None:
    some = read(*WHOLE, due_ns=4 * MS)
    mixed = read(*WHOLE, request=4, phase="tail", kernel_ns=np.array([9, 0, 0, 0], np.int64) * MS)
    none = read(request=5, status=None, fault="refused", detail="no", end_ns=6 * MS)
    found = tables([some, mixed, none], 10 * MS)
    requests, chunks = found["requests"], found["chunks"]
    assert list(requests) == ["request", "stream", "phase", "prompt_tokens", "output_tokens", "due_s", "sent_s",
                              "first_s", "last_s", "end_s", "status", "outcome", "detail"]
    assert requests["request"].tolist() == [3, 4, 5]
    assert requests["phase"].tolist() == ["measured", "tail", "measured"]
    assert requests["output_tokens"].tolist() == [2, 2, 0]
    np.testing.assert_allclose(requests["due_s"], [-0.006, np.nan, np.nan])
    np.testing.assert_allclose(requests["first_s"], [-0.0005, 0.0, np.nan])
    np.testing.assert_allclose(requests["last_s"], [0.0005, 0.001, np.nan])
    np.testing.assert_allclose(requests["end_s"], [0.08, 0.08, -0.004])
    assert requests["status"].tolist() == [200, 200, 0]
    assert requests["outcome"].tolist() == ["ok", "ok", "refused"]
    assert list(chunks) == ["request", "at_s", "user_at_s", "kernel_at_s", "tokens"]
    assert chunks["request"].tolist() == [3, 3, 4, 4]
    np.testing.assert_allclose(chunks["at_s"], [-0.0005, 0.0005, 0.0, 0.001])
    np.testing.assert_allclose(chunks["user_at_s"], [0.0, 0.001, 0.0, 0.001])
    np.testing.assert_allclose(chunks["kernel_at_s"], [-0.0005, 0.0005, -0.001, np.nan])
    assert chunks["tokens"].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("records", [[], [read(status=None, fault="refused")]])
def test_tables_of_nothing(records: list[Record]) -> None:
    found = tables(records, 0)
    assert {len(column) for column in found["requests"].values()} == {len(records)}
    assert {len(column) for column in found["chunks"].values()} == {0}
    assert found["chunks"]["tokens"].dtype == np.int32
    assert found["chunks"]["at_s"].dtype == np.float64


def test_one_table_of_several_loads_keeps_requests_without_chunks() -> None:
    answered, silent = read(*WHOLE), read(request=5, status=None, fault="refused", detail="no", end_ns=6 * MS)
    loads = [tables([answered, silent], 10 * MS), tables([answered], 10 * MS)]
    raw = raw_table(["c1", "c8"], loads)
    assert raw["load"].tolist() == ["c1", "c1", "c1", "c8", "c8"]
    assert raw["window"].tolist() == [0, 0, 0, 1, 1]
    assert raw["request"].tolist() == [3, 3, 5, 3, 3]
    assert raw["tokens"].tolist() == [1, 1, 0, 1, 1]
    np.testing.assert_allclose(raw["at_s"], [-0.0005, 0.0005, np.nan, -0.0005, 0.0005])
    assert raw["outcome"].tolist() == ["ok", "ok", "refused", "ok", "ok"]
