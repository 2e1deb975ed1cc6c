"""Programmatic checks of generated answers: the final number of a working, and format instructions.

Every function takes any text that a model may write and never raises for it. Only the first line of an
answer counts, because answers of the reference skills are one line. A malformed check (an unknown kind,
a missing field) is the caller's mistake and raises ValueError or KeyError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["check_format", "final_number", "first_line"]

_NUMBER = re.compile(r"(?<![\w.])-?\d{1,40}(?:\.\d{1,40})?(?![\w])")


def first_line(text: str) -> str:
    """The first line of an answer without surrounding blanks; leading empty lines do not count."""
    lines = text.strip().splitlines()
    return lines[0].strip() if lines else ""


def final_number(text: str) -> str | None:
    """The last number on the answer's first line, normalized (`"007"` -> `"7"`, `"5.0"` -> `"5"`), or None.

    For a working such as `14+54=68; 68-17=51` that is the last result: `"51"`.
    """
    line = first_line(text)
    # a minus between two numbers is an operator: only one that nothing precedes is a sign
    found = _NUMBER.findall(re.sub(r"(?<=[\d)])\s*-", " - ", line))
    if not found:
        return None
    sign = "-" if found[-1].startswith("-") else ""
    whole, _, fraction = found[-1].lstrip("-").partition(".")
    fraction = fraction.rstrip("0")
    number = (whole.lstrip("0") or "0") + ("." + fraction if fraction else "")
    return number if number == "0" else sign + number


def check_format(text: str, checks: Sequence[Mapping[str, Any]]) -> list[bool]:
    """One truth value for each check, in order. The kinds and their fields:

    - `equals` text: the line is exactly this
    - `starts` text / `ends` text: the line begins / ends with this
    - `count` separator, n: splitting at the separator gives exactly n non-empty parts
    - `members` separator, allowed: every part is one of the allowed words; letter case and signs around the
      word are left to the other checks
    - `distinct` separator: no part occurs twice, compared in the same way
    - `case` case: all letters are `upper` or `lower`, or each word is `title`
    - `wrapped` left, right: the line begins with left and ends with right, with something between
    - `wrapped_each` separator, left, right: so is every part
    - `prefixed_each` separator, prefix: every part begins with the prefix and has more
    - `numbered` n: the line reads `1. a 2. b ...` up to exactly n
    - `json` keys: the line is a JSON object with exactly these keys in this order
    - `json_value` key, value: the line is a JSON object with this value at this key
    """
    line = first_line(text)
    return [_passes(line, check) for check in checks]


def _parts(line: str, separator: str) -> list[str]:
    return line.split(separator)


def _core(part: str) -> str:
    """A list entry without list number, brackets, quotes or a prefix sign, in lower case."""
    return re.sub(r"^\W*(?:\d+\.\s*)?\W*|\W*$", "", part).lower()


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _wrapped(text: str, left: str, right: str) -> bool:
    return text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right)


def _numbered(line: str) -> list[str]:
    """The entries of `1. a 2. b`, or nothing when the numbers are not 1, 2, 3 ..."""
    pieces = re.split(r"(?:^|\s)(\d{1,6})\. ", line)
    if pieces[0].strip() or [int(n) for n in pieces[1::2]] != list(range(1, len(pieces) // 2 + 1)):
        return []
    return [p.strip() for p in pieces[2::2]]


def _passes(line: str, check: Mapping[str, Any]) -> bool:
    kind = check["kind"]
    if kind == "equals":
        return line == str(check["text"]).strip()
    if kind == "starts":
        return line.startswith(check["text"])
    if kind == "ends":
        return line.endswith(check["text"])
    if kind == "count":
        parts = _parts(line, check["separator"])
        return len(parts) == check["n"] and all(p.strip() for p in parts)
    if kind == "members":
        allowed = {str(word).lower() for word in check["allowed"]}
        return all(_core(p) in allowed for p in _entries(line, check))
    if kind == "distinct":
        cores = [_core(p) for p in _entries(line, check)]
        return len(set(cores)) == len(cores)
    if kind == "case":
        return _has_case(line, check["case"])
    if kind == "wrapped":
        return _wrapped(line, check["left"], check["right"])
    if kind == "wrapped_each":
        return all(_wrapped(p, check["left"], check["right"]) for p in _parts(line, check["separator"]))
    if kind == "prefixed_each":
        prefix = check["prefix"]
        return all(p.startswith(prefix) and len(p) > len(prefix) for p in _parts(line, check["separator"]))
    if kind == "numbered":
        entries = _numbered(line)
        return len(entries) == check["n"] and all(entries)
    if kind == "json":
        value = _object(line)
        return value is not None and list(value) == list(check["keys"])
    if kind == "json_value":
        value = _object(line)
        return value is not None and value.get(check["key"]) == check["value"]
    raise ValueError(f"unknown check kind {kind!r}")


def _entries(line: str, check: Mapping[str, Any]) -> list[str]:
    """The parts of a list; the separator `numbered` means `1. a 2. b`."""
    separator = check["separator"]
    return (_numbered(line) or [line]) if separator == "numbered" else _parts(line, separator)


def _has_case(line: str, case: str) -> bool:
    words = re.findall(r"[^\W\d_]+", line)
    if case == "upper":
        return bool(words) and line == line.upper()
    if case == "lower":
        return bool(words) and line == line.lower()
    if case == "title":
        return bool(words) and all(w[0].isupper() and w[1:] == w[1:].lower() for w in words)
    raise ValueError(f"unknown case {case!r}")
