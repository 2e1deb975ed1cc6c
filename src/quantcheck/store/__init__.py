"""What was measured, on disk: cells written whole or not at all, with a schema version."""

from quantcheck.store.cells import Cell, CellKey, Store
from quantcheck.store.sealed import SCHEMA_VERSION, DamagedError
from quantcheck.store.tables import Table, read_table, write_table

__all__ = ["SCHEMA_VERSION", "Cell", "CellKey", "DamagedError", "Store", "Table", "read_table", "write_table"]
