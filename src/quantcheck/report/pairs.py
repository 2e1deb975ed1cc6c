"""Two cells of one task, paired item by item."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantcheck.report.cells import Cell

__all__ = ["BoolArray", "Pair", "pair_cells", "unlike_hashes"]

HASH = "_sha256"
"""A result's keys that end so are hashes of the work: the same for every variant, or nothing is comparable."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pair:
    """Ids [n] in order, what is right [n] or [n, draws] in each cell, groups [n] or None."""

    ids: npt.NDArray[np.str_]
    baseline: BoolArray
    variant: BoolArray
    groups: list[str] | None


def pair_cells(baseline: Cell, variant: Cell) -> Pair | str:
    """The answers of two cells, item by item in the order of ids; a sentence if they do not pair.

    Of a task that ended early only the items that both answered count.
    """
    unlike = unlike_hashes(baseline, variant)
    if unlike:
        return unlike
    ours, theirs = baseline.record["result"], variant.record["result"]
    if ours.get("sampling") != theirs.get("sampling"):
        return "not the same work: how answers were drawn differs"
    ids, right, groups = _answers(baseline)
    other, other_right, _ = _answers(variant)
    if "early" in ours or "early" in theirs:
        _, at, other_at = np.intersect1d(ids, other, assume_unique=True, return_indices=True)
        if len(at) not in (len(ids), len(other)):
            return "the two were not asked the same items"
        ids, right, groups = ids[at], right[at], groups[at]
        other, other_right = other[other_at], other_right[other_at]
    if not np.array_equal(ids, other):
        return "the two were not asked the same items"
    if unlike := _unlike_items(baseline, variant, ids):
        return unlike
    names = [str(group) for group in groups]
    return Pair(ids, right, other_right, names if any(names) else None)


ITEM_HASHES = {"doc_hash": "question", "prompt_hash": "prompt", "target_hash": "right answer"}
"""Columns of a table of items that are hashes of the work, where lm-eval asked."""


def _unlike_items(baseline: Cell, variant: Cell, ids: npt.NDArray[np.str_]) -> str | None:
    """Names what was asked otherwise in the items `ids`, which both cells have; None where all is the same."""
    ours, theirs = baseline.table("items"), variant.table("items")
    for column, what in ITEM_HASHES.items():
        if column in ours and column in theirs:
            unlike = int((_of(ours, column, ids) != _of(theirs, column, ids)).sum())
            if unlike:
                return f"not the same work: the {what} differs in {unlike:,} of {len(ids):,} items"
    return None


def _of(table: Mapping[str, npt.NDArray[Any]], column: str, ids: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    """The values of a column at the items `ids`, sorted ids of the table."""
    own = np.asarray(table["id"]).astype(str)
    order = np.argsort(own, kind="stable")
    values = np.asarray(table[column]).astype(str)[order]
    return values[np.searchsorted(own[order], ids)]


def _answers(cell: Cell) -> tuple[npt.NDArray[np.str_], BoolArray, npt.NDArray[np.str_]]:
    """Ids [n] in order, right [n] or [n, draws], groups [n]."""
    table = cell.table("items")
    ids, groups = (np.asarray(table[name]).astype(str) for name in ("id", "group"))
    right = np.asarray(table["right"], dtype=np.bool_)
    if "draw" not in table:
        order = np.argsort(ids, kind="stable")
        return ids[order], right[order], groups[order]
    draw = np.asarray(table["draw"])
    order, draws = np.lexsort((draw, ids)), int(draw.max()) + 1
    first = order[::draws]
    return ids[first], right[order].reshape(-1, draws), groups[first]


def unlike_hashes(baseline: Cell, variant: Cell) -> str | None:
    """Names the work whose stored hashes differ between two cells; None when all hashes that both have agree."""
    ours, theirs = baseline.record["result"], variant.record["result"]
    unlike = sorted(k for k in ours.keys() & theirs.keys() if k.endswith(HASH) and ours[k] != theirs[k])
    return f"not the same work: {', '.join(k.removesuffix(HASH) for k in unlike)} differ" if unlike else None
