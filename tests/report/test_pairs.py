"""Items pair only where question, prompt and right answer are the same."""

import numpy as np
import pytest

from quantcheck.report.pairs import Pair, pair_cells
from tests.report.synthetic import FakeCell, task_cell

TASK = "reference/knowledge"

HASHES = {"doc_hash": "question", "prompt_hash": "prompt", "target_hash": "right answer"}


def hashed(variant: str, order: "np.ndarray[tuple[int], np.dtype[np.int64]] | None" = None) -> FakeCell:
    cell = task_cell(variant, TASK, items=20)
    table = dict(cell.table("items"))
    table |= {name: np.array([f"{name}-{key}" for key in table["id"]]) for name in HASHES}
    if order is not None:
        table = {name: column[order] for name, column in table.items()}
    return FakeCell(cell.record, {"items": table})


def test_the_order_of_the_rows_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(20)
    straight, mixed = pair_cells(hashed("F16"), hashed("Q2_K")), pair_cells(hashed("F16"), hashed("Q2_K", order))
    assert isinstance(straight, Pair)
    assert isinstance(mixed, Pair)
    assert straight.ids.tolist() == mixed.ids.tolist()
    assert straight.variant.tolist() == mixed.variant.tolist()


@pytest.mark.parametrize("column", HASHES)
def test_another_hash_is_other_work(column: str) -> None:
    other = hashed("Q2_K", np.random.default_rng(0).permutation(20))
    table = dict(other.table("items"))
    table[column] = np.where(np.arange(20) < 3, "other", table[column])
    found = pair_cells(hashed("F16"), FakeCell(other.record, {"items": table}))
    assert found == f"not the same work: the {HASHES[column]} differs in 3 of 20 items"
