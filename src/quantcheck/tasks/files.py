"""Plain data files to rows: JSON by line, CSV, and texts of a fixed number of lines; also packed by gzip or bzip2.

A row comes with the number of the line where it begins. Errors are `SpecError`s that name file and line.
"""

import bz2
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from quantcheck.errors import SpecError

__all__ = ["csv_rows", "find", "groups_of_lines", "json_lines", "text"]

PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.decompress, ".bz2": bz2.decompress}


def find(folder: Path, pattern: str) -> list[Path]:
    """The files that match `pattern`, by name, else those that do so packed; raises `SpecError` when there is none."""
    for suffix in PACKED:
        if found := sorted(folder.glob(pattern + suffix)):
            return found
    raise SpecError(f"{folder / pattern}: there is no such file, nor one ending in .gz or .bz2")


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The object on each line; blank lines are passed over."""
    for number, line in enumerate(text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise SpecError(f"{path}, line {number}: not an object in braces")
        yield number, row


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The fields of each row, quoted ones without their quotes; empty rows are passed over."""
    reader = csv.reader(io.StringIO(text(path)), strict=True)
    number = 1
    try:
        for row in reader:
            if row:
                yield number, row
            number = reader.line_num + 1
    except csv.Error as error:
        raise SpecError(f"{path}, line {number}: not CSV ({error})") from error


def groups_of_lines(path: Path, size: int) -> Iterator[tuple[int, list[str]]]:
    """`size` lines at a time."""
    lines = text(path).removesuffix("\n").split("\n")
    if len(lines) % size:
        raise SpecError(f"{path}, line {len(lines)}: the file ends within an item of {size} lines")
    for start in range(0, len(lines), size):
        yield start + 1, lines[start : start + size]


def text(path: Path) -> str:
    """The whole file, unpacked, with plain line ends."""
    try:
        content = PACKED.get(path.suffix, bytes)(path.read_bytes())
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise SpecError(f"{path}: cannot be read ({error}); fetch the file again") from error
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{path}, line {number}: not UTF-8 text") from error
