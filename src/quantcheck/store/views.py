"""Views over many cells' raw samples: DuckDB reads the Parquet files where they lie."""

from collections.abc import Iterable
from typing import Any

import duckdb

from quantcheck.errors import StoreError
from quantcheck.store.cells import Cell

__all__ = ["export", "tables_of", "view"]


def tables_of(cells: Iterable[Cell]) -> list[str]:
    """Names of the tables that the cells hold."""
    return sorted({path.stem for cell in cells for path in cell.folder.glob("*.parquet")})


def view(cells: Iterable[Cell], table: str) -> Any:
    """One table of all cells that have it, as a DuckDB relation: `kind`, `variant`, `subject` and `block` of the cell,
    then the table's own columns. `.fetchnumpy()`, `.arrow()` (with pyarrow) and `.df()` (with pandas) give data frames.

    Raises `StoreError` where no cell has such a table, or one cannot be read.
    """
    cells = list(cells)
    found = {str(cell.folder / f"{table}.parquet"): cell.key for cell in cells
             if (cell.folder / f"{table}.parquet").is_file()}
    if not found:
        have = ", ".join(tables_of(cells)) or "none"
        raise StoreError(f"{table}: no cell of this run has such a table; there are: {have}")
    connection = duckdb.connect(":memory:", config={
        "threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False,
    })
    connection.execute("CREATE TABLE cells (place INTEGER, file VARCHAR, kind VARCHAR, variant VARCHAR, "
                       "subject VARCHAR, block INTEGER)")
    connection.executemany("INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?)",
                           [(place, file, key.kind, key.variant, key.subject, key.block)
                            for place, (file, key) in enumerate(found.items())])
    try:
        # The rows of a file stay in their order: a request's id is its place.
        return connection.sql(
            "SELECT cells.kind, cells.variant, cells.subject, cells.block, "
            "samples.* EXCLUDE (filename, file_row_number) "
            "FROM read_parquet($files, filename = true, file_row_number = true, union_by_name = true) AS samples "
            "JOIN cells ON samples.filename = cells.file ORDER BY cells.place, samples.file_row_number",
            params={"files": list(found)},
        )
    except duckdb.Error as error:
        raise StoreError(f"{table}: cannot be read ({str(error).splitlines()[0]}); run the experiment again") from error


def export(cells: Iterable[Cell], table: str, to: str, kind: str) -> int:
    """Write `view(cells, table)` to the file `to`, `kind` being parquet or csv; returns how many rows.

    Raises `StoreError` as `view` does, and where the file cannot be written.
    """
    relation = view(cells, table)
    try:
        if kind == "csv":
            relation.write_csv(to, header=True)
        else:
            relation.write_parquet(to, compression="zstd")
        return int(relation.aggregate("count(*)").fetchall()[0][0])
    except (duckdb.Error, OSError) as error:
        raise StoreError(f"{to}: cannot be written ({str(error).splitlines()[0]}); give another file") from error
