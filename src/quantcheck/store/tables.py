"""Raw samples as Parquet: a table is a mapping of column name to a numpy array, all of one length."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from quantcheck.errors import StoreError
from quantcheck.store.sealed import DamagedError

__all__ = ["Table", "read_table", "write_table"]

Table = Mapping[str, NDArray[Any]]


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    # No extension may be fetched: nothing here touches the network.
    return duckdb.connect(":memory:", config={
        "threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False,
        "preserve_insertion_order": True,
    })


def write_table(path: Path, table: Table) -> None:
    """Write `table` to `path` as zstd-compressed Parquet and bring it to the disk.

    Raises `StoreError` when the columns differ in length or the disk is full.
    """
    lengths = {name: len(column) for name, column in table.items()}
    if len(set(lengths.values())) > 1:
        raise StoreError(f"{path}: columns differ in length: {lengths}")
    # Unicode arrays have a fixed width in numpy; DuckDB wants Python strings.
    columns = {name: column.astype(object) if column.dtype.kind == "U" else np.ascontiguousarray(column)
               for name, column in table.items()}
    connection = _engine()
    try:
        if lengths and next(iter(lengths.values())) == 0:
            names = ", ".join(f'NULL::{_sql_type(column)} AS "{name}"' for name, column in table.items())
            relation = connection.sql(f"SELECT {names} LIMIT 0")
        else:
            connection.register("columns", columns)
            relation = connection.sql("SELECT * FROM columns")
        relation.write_parquet(str(path), compression="zstd")
    except (duckdb.IOException, OSError) as error:
        raise StoreError(f"{path}: cannot be written ({_first_line(error)}); free disk space and run again") from error
    finally:
        connection.execute("DROP VIEW IF EXISTS columns")
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_table(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of the Parquet file at `path`, in its order. Raises `StoreError` when it cannot be read."""
    try:
        columns = _engine().read_parquet(str(path)).fetchnumpy()
    except (duckdb.Error, OSError, MemoryError, UnicodeDecodeError) as error:
        raise DamagedError(f"{path}: cannot be read ({_first_line(error)}); delete its folder and run again") from error
    return {name: _without_mask(column) for name, column in columns.items()}


def _without_mask(column: NDArray[Any]) -> NDArray[Any]:
    # DuckDB keeps NaN as NULL when it reads numpy: give it back as what it was.
    if not np.ma.isMaskedArray(column) or not np.ma.is_masked(column):
        return np.ma.getdata(column)
    return np.ma.filled(column, np.nan if column.dtype.kind == "f" else None)


def _sql_type(column: NDArray[Any]) -> str:
    return {"b": "BOOLEAN", "i": "BIGINT", "u": "UBIGINT", "f": "DOUBLE"}.get(column.dtype.kind, "VARCHAR")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
