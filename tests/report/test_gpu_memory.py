"""The split of the GPU's memory: its parts come to the total, and what does not add up says so."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.report.cells import CellIndex
from quantcheck.report.gpu_memory import gpu_memory_grid, gpu_memory_rows, most_tokens_held
from quantcheck.report.requests import read_requests
from quantcheck.report.summary import GpuMemoryRow
from tests.report import synthetic
from tests.report.synthetic import FakeCell
from tests.report.test_view import SCENARIOS

PARTS = ("weights", "kv_cache", "other", "foreign", "free")
GIB = 1 << 30


def rows(cells: list[FakeCell]) -> dict[str, GpuMemoryRow]:
    found = gpu_memory_rows(CellIndex(synthetic.experiment(quality=None), cells, []))
    return {row.variant: row for row in found}


def one_cell(gpus: int = 1) -> FakeCell:
    return synthetic.on_gpu([synthetic.load_cell("F16", "short@c8", 0)], gpus)[0]


def bytes_of(row: GpuMemoryRow, part: str) -> Any:
    return getattr(row, f"gpu_{part}_bytes").value


@given(total=st.integers(1, 200 * GIB), gpus=st.integers(1, 8), shares=st.tuples(*[st.floats(0.0, 1.0)] * 4))
def test_the_parts_come_to_the_total_or_the_rest_is_missing(
    total: int, gpus: int, shares: tuple[float, float, float, float]
) -> None:
    free, weights, cache, foreign = (int(total * share) for share in shares)
    cell = one_cell(gpus)
    cell.record["telemetry"]["gpu"] |= {
        "memory_total_bytes": gpus * total, "memory_free_bytes": gpus * free,
        "memory_used_bytes": gpus * (total - free), "foreign_processes": 1, "foreign_bytes": gpus * foreign,
    }
    cell.record["result"]["engine"] |= {"weights_bytes": weights, "kv_cache_bytes": cache}
    row = rows([cell])["F16"]
    if row.gpu_other_bytes.value is None:
        assert weights + cache + foreign + free > total or 0 in (weights, cache)
        assert row.gpu_footprint_bytes.reason == row.gpu_other_bytes.reason
        return
    assert sum(bytes_of(row, part) for part in PARTS) == gpus * total
    assert all(bytes_of(row, part) >= 0 for part in PARTS)
    assert bytes_of(row, "used") + bytes_of(row, "free") == bytes_of(row, "total")
    assert bytes_of(row, "kv_needed") <= bytes_of(row, "kv_cache")
    assert bytes_of(row, "footprint") == pytest.approx(
        bytes_of(row, "weights") + bytes_of(row, "other") + bytes_of(row, "kv_needed"))


def test_the_fullest_window_is_shown_and_the_footprint_leaves_out_what_the_load_did_not_need() -> None:
    row = rows(synthetic.on_gpu(synthetic.cells(quality=False)))["Q4_K_M"]
    assert row.gpus == 1
    assert bytes_of(row, "weights") == 5.3e9
    assert bytes_of(row, "kv_cache") == 69e9 - 5.3e9
    assert bytes_of(row, "used") == 72_500_000_000 + 1_000_000 * (synthetic.BLOCKS - 1)
    # The synthetic requests are sent in one row, 40 in 4 s, and overlap: at least two at a time hold 64 tokens each.
    assert 128 * 63.7e9 / 400_000 <= bytes_of(row, "kv_needed") < 0.01 * bytes_of(row, "kv_cache")


def test_two_gpus_are_summed_and_counted() -> None:
    row = rows([one_cell(2)])["F16"]
    assert (row.gpus, bytes_of(row, "weights"), bytes_of(row, "total")) == (2, 15.4e9, 160e9)


def test_hidden_processes_leave_other_programs_in_other() -> None:
    cell = one_cell()
    cell.record["telemetry"]["gpu"] |= {"foreign_processes": None, "foreign_bytes": None}
    row = rows([cell])["F16"]
    assert "it is counted as other" in (row.gpu_foreign_bytes.reason or "")
    assert bytes_of(row, "other") == 72.5e9 - 69e9


def test_an_engine_that_does_not_tell_leaves_parts_missing_and_the_rest_there() -> None:
    cell = one_cell()
    del cell.record["result"]["engine"]["weights_bytes"]
    row = rows([cell])["F16"]
    assert row.gpu_weights_bytes.reason == row.gpu_other_bytes.reason == "the engine does not tell its weights"
    assert bytes_of(row, "used") == 72.5e9
    assert row.gpu_footprint_bytes.value is None


def test_memory_that_nvml_refused_is_missing_in_its_words() -> None:
    cells = synthetic.on_gpu([synthetic.load_cell(name, "short@c8", 0) for name in ("F16", "Q8_0")])
    gpu = cells[1].record["telemetry"]["gpu"]
    gpu |= {"memory_used_bytes": None, "missing": {"gpu 0: memory": "Not Supported"}}
    assert rows(cells)["Q8_0"].gpu_total_bytes.reason == "gpu 0: Not Supported"
    assert rows(cells)["Q2_K"].gpu_total_bytes.reason == "no result stored"


def test_without_a_gpu_there_is_no_table() -> None:
    assert SCENARIOS["whole"].gpu_memory == []
    assert gpu_memory_grid(SCENARIOS["whole"]).rows == []


def requests(*spans: tuple[float, float, int, int]) -> Any:
    """(sent, end, prompt, output) of each request."""
    sent, end, prompt, output = (np.array(column) for column in zip(*spans, strict=True))
    table = {"request": np.arange(len(spans)), "outcome": np.array(["ok"] * len(spans)), "prompt_tokens": prompt,
             "output_tokens": output, "sent_s": sent, "first_s": sent, "last_s": end, "end_s": end}
    return read_requests({}, table)


def test_tokens_held_at_one_time() -> None:
    assert most_tokens_held(requests((0, 1, 10, 6), (1, 2, 20, 12))) == 32  # one after the other
    assert most_tokens_held(requests((0, 1.5, 10, 6), (1, 2, 20, 12))) == 48
    assert most_tokens_held(requests((0, 1, 10, 7))) == 32  # whole blocks of 16
    assert most_tokens_held(requests((0, 1, 0, 7))) is None


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.1, 5), st.integers(1, 500), st.integers(1, 500)), min_size=1,
                max_size=30))
def test_tokens_held_lie_between_the_largest_request_and_all(spans: list[tuple[float, float, int, int]]) -> None:
    whole = [-(-(prompt + output) // 16) * 16 for _, _, prompt, output in spans]
    held = most_tokens_held(requests(*((sent, sent + length, p, o) for sent, length, p, o in spans)))
    assert held is not None
    assert max(whole) <= held <= sum(whole)
