"""How a child process tells its parent, through its log, that it listens and where."""

import json
import os
from typing import Any

__all__ = ["announce", "announced"]

_MARK = "quantcheck-ready "


def announce(facts: dict[str, Any]) -> None:
    """Writes `facts` to standard output, in one write: other threads of the process log there as well."""
    os.write(1, f"\n{_MARK}{json.dumps(facts)}\n".encode())


def announced(log: str) -> dict[str, Any] | None:
    """The facts announced in `log`; None when there are none yet."""
    _, mark, rest = log.partition(_MARK)
    line, newline, _ = rest.partition("\n")
    if not mark or not newline:
        return None
    facts: dict[str, Any] = json.loads(line)
    return facts
