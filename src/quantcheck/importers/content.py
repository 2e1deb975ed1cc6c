"""A result file as an importer gets it: its bytes, and what they parse as."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from quantcheck.errors import SpecError

__all__ = ["MOST_BYTES", "Content", "read_content"]

MOST_BYTES = 1 << 30
"""A file that is larger is refused before it is read."""


@dataclass(frozen=True)
class Content:
    """One file. `data` is what it holds; whatever it is, the properties do not raise."""

    path: Path
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def text(self) -> str:
        """As UTF-8; bytes that are none become the replacement character."""
        return self.data.decode("utf-8", errors="replace").removeprefix("\ufeff")

    @cached_property
    def json(self) -> Any:
        """What the file is as one JSON document; None where it is none."""
        return parse_json(self.text)

    @cached_property
    def lines(self) -> list[Any] | None:
        """A JSON value for every line that is not blank; None where a line is no JSON."""
        found = []
        for line in self.text.split("\n"):
            if line.strip():
                if (value := parse_json(line)) is None:
                    return None
                found.append(value)
        return found

    @cached_property
    def first_line(self) -> Any:
        """The first line that is not blank, as JSON; None where it is none."""
        return next((parse_json(line) for line in self.text.split("\n") if line.strip()), None)


def parse_json(text: str) -> Any:
    """None where `text` is no JSON; nesting that is too deep for the parser and numbers too long are none either."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_content(path: Path) -> Content:
    """Raises `SpecError` when `path` cannot be read, is empty or larger than `MOST_BYTES`."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise SpecError(f"{path}: has {size / 1e9:.1f} GB, more than {MOST_BYTES / 1e9:.1f} GB; give a result file")
        data = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror or error}); give a result file") from error
    if not data.strip():
        raise SpecError(f"{path}: is empty; give a result file that its tool wrote to its end")
    return Content(path, data)
