"""How the report writes Markdown: text that stays itself, tables, lists and fenced commands.

GitHub's flavour. Whatever a name holds, it opens no tag, ends no cell and becomes no link.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from quantcheck.report.grids import Grid, Item

__all__ = ["bullets", "code", "escape", "fenced", "pairs", "table"]

SPECIAL = re.compile(
    r"[\\`*\[\]|~]"
    r"|<(?=[A-Za-z/!?])|&(?=#?\w+;)"  # tags and entities
    r"|(?<![^\W_])_|_(?![^\W_])"  # inside a word it is safe, as in Q4_K_M
    r"|^>|^[+-](?=\s|$)|^[=-](?=[=-]*$)|(?<!\S)#"  # what begins a line, and closes a heading
    r"|:(?=//)|(?<=www)\.|\$(?=.*\$)",  # links and formulas, of GitHub's
    re.IGNORECASE,
)
"""What Markdown would not show as itself."""

NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")


def escape(text: str) -> str:
    """Text that stays itself in Markdown, in a table too: specials escaped, one line."""
    return NUMBERED.sub(r"\1\\\2", SPECIAL.sub(r"\\\g<0>", " ".join(text.split())))


def code(text: str) -> str:
    """Text in backticks, outside of tables, where a pipe needs no escape."""
    line = " ".join(text.replace("`", "'").split())
    return f"`{line}`" if line else "n/a"


def fenced(text: str) -> str:
    """Lines as they are, in a fence that nothing in them ends."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def table(grid: Grid) -> str:
    """A grid as a pipe table; intervals follow their figure in brackets."""
    lines = [
        _row([escape(column.name) for column in grid.columns]),
        _row(["---:" if column.right else "---" for column in grid.columns]),
    ]
    lines += [_row(_fields(row)) for row in grid.rows]
    return "\n".join(lines)


def _row(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _fields(row: Sequence[Item]) -> list[str]:
    """A row's fields; a reason that several of them share is given once, at the last."""
    last = {item.missing: at for at, item in enumerate(row)}
    return [
        _field(item) if item.missing is None or last[item.missing] == at else "n/a" for at, item in enumerate(row)
    ]


def _field(item: Item) -> str:
    if item.missing is not None:
        return escape(f"n/a ({item.missing})")
    text = escape(item.text)
    if item.tone in ("good", "bad"):
        text = f"**{text}**"
    return f"{text} ({escape(item.detail)})" if item.detail else text


def pairs(values: Mapping[str, Any]) -> str:
    """Names and values as a two-column table; empty for none."""
    rows = [_row([escape(key), escape(str(value)) if value not in ("", "None") else "n/a (not set)"])
            for key, value in values.items()]  # fmt: skip
    return "\n".join(["| | |", "|---|---|", *rows]) if rows else ""


def bullets(lines: Sequence[str]) -> str:
    """A list; empty for none."""
    return "\n".join(f"- {escape(line)}" for line in lines)
