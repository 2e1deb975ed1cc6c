"""Results that other tools measured, read into the store and marked as imported."""

from quantcheck.importers.keep import Imported, import_files
from quantcheck.importers.registry import TOOLS, read_file

__all__ = ["TOOLS", "Imported", "import_files", "read_file"]
