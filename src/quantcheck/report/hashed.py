"""Items of two cells that are called otherwise and are the same questions: their hashes say so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantcheck.report.cells import Cell

__all__ = ["named_alike"]

HASHES = ("doc_hash", "prompt_hash", "target_hash")


@dataclass(frozen=True)
class _Named:
    """A cell whose items have other ids."""

    cell: Cell
    ids: npt.NDArray[np.str_]

    @property
    def record(self) -> Mapping[str, Any]:
        return self.cell.record

    def table(self, name: str) -> Mapping[str, npt.NDArray[Any]]:
        table = self.cell.table(name)
        return {**table, "id": self.ids} if name == "items" else table


def named_alike(ours: Cell, theirs: Cell) -> tuple[Cell, Cell]:
    """Both cells as they are, or with their items named by their hashes, if that makes their names the same.

    An imported item is called otherwise than the project's own. A question that comes several times is numbered.
    """
    if not any("imported" in cell.record for cell in (ours, theirs)):
        return ours, theirs
    ids = [np.sort(np.asarray(cell.table("items")["id"]).astype(str)) for cell in (ours, theirs)]
    if np.array_equal(ids[0], ids[1]):
        return ours, theirs
    names = [_names(cell.table("items")) for cell in (ours, theirs)]
    if names[0] is None or names[1] is None or not np.array_equal(np.sort(names[0]), np.sort(names[1])):
        return ours, theirs
    return _Named(ours, names[0]), _Named(theirs, names[1])


def _names(items: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.str_] | None:
    if "draw" in items or not all(name in items for name in HASHES):
        return None
    seen: dict[str, int] = {}
    found = []
    for triple in zip(*(items[name] for name in HASHES), strict=True):
        key = ":".join(map(str, triple))
        seen[key] = seen.get(key, 0) + 1
        found.append(f"{key}#{seen[key]}")
    return np.array(found)
