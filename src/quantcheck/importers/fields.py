"""Values out of a foreign JSON document: each of its right type and finite, or one line that says what is wrong."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantcheck.errors import SpecError

__all__ = ["Fields", "Wrong", "plain"]

LONGEST = 100
"""Characters of a name; it becomes part of a folder's name."""


class Wrong(SpecError):
    """A file does not hold what its tool writes; the message says where in it, and its reader adds the file's name."""


def plain(text: str) -> str:
    """`text` fit to be a name and to be printed: other than letters, digits and ._:/@+- become an underscore."""
    return re.sub(r"[^A-Za-z0-9._:/@+-]", "_", text)[:LONGEST] or "_"


@dataclass(frozen=True)
class Fields:
    """A JSON object and where it lies in its file."""

    value: Mapping[str, Any]
    where: str = ""

    def at(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def has(self, key: str) -> bool:
        """Whether it is there, and not null."""
        return self.value.get(key) is not None

    def fields(self, key: str) -> "Fields":
        return fields_of(self.value.get(key), self.at(key))

    def list(self, key: str) -> list[Any]:
        value = self.value.get(key)
        if not isinstance(value, list):
            raise Wrong(f"{self.at(key)} is {_kind(value)}, not a list")
        return value

    def number(self, key: str) -> float:
        return number_of(self.value.get(key), self.at(key))

    def number_or_none(self, key: str) -> float | None:
        """None where it is not there or null."""
        return self.number(key) if self.has(key) else None

    def count(self, key: str) -> int:
        """A whole number of at least 0."""
        value = self.number(key)
        if value < 0 or value != int(value):
            raise Wrong(f"{self.at(key)} is {value:g}, not a count")
        return int(value)

    def count_or_none(self, key: str) -> int | None:
        return self.count(key) if self.has(key) else None

    def text(self, key: str) -> str:
        value = self.value.get(key)
        if not isinstance(value, str):
            raise Wrong(f"{self.at(key)} is {_kind(value)}, not a text")
        return printable(value)

    def text_or_none(self, key: str) -> str | None:
        return self.text(key) if self.has(key) else None


def fields_of(value: Any, where: str) -> Fields:
    if not isinstance(value, dict):
        raise Wrong(f"{where or 'the file'} is {_kind(value)}, not an object")
    return Fields(value, where)


def number_of(value: Any, where: str) -> float:
    """A finite number; a text that is one counts, because some tools write numbers so."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise Wrong(f"{where} is the text {value[:40]!r}, not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Wrong(f"{where} is {_kind(value)}, not a number")
    try:
        number = float(value)
    except OverflowError:
        raise Wrong(f"{where} is too large a number") from None
    if not math.isfinite(number):
        raise Wrong(f"{where} is {number}, not a finite number")
    return number


def printable(text: str) -> str:
    """Without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _kind(value: Any) -> str:
    names = {type(None): "missing", bool: "true or false", int: "a number", float: "a number", str: "a text",
             list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
