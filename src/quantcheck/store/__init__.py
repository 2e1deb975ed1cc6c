"""What was measured, on disk: cells written whole or not at all, with a schema version."""

from quantcheck.store.cells import SCHEMA_VERSION, Cell, CellKey, Store
from quantcheck.store.tables import Table, read_table, write_table

__all__ = ["SCHEMA_VERSION", "Cell", "CellKey", "Store", "Table", "read_table", "write_table"]
