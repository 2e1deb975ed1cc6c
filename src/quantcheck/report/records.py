"""Where the raw records of a row's figures lie: its cells' folders, under `cells/` of the results folder."""

from collections.abc import Iterable

from quantcheck.report.cells import Cell
from quantcheck.store import CellKey

__all__ = ["cell_names"]


def cell_names(cells: Iterable[Cell | None]) -> list[str]:
    """The folder of each cell that there is, in their order."""
    return [CellKey(**cell.record["key"]).id for cell in cells if cell is not None]
