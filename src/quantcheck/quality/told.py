"""What a process of ours tells the runner that started it: one JSON object a line of FOLDER/events.jsonl."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from quantcheck.errors import QuantcheckError, StoreError

__all__ = ["Tell", "told"]


class Tell(Protocol):
    """Writes one event at once."""

    def __call__(self, **event: Any) -> None: ...


def told(folder: Path, do: Callable[[Tell], None]) -> int:
    """`do` the work, which tells; 0 when it is done, else the exit code of the error, which is told, too."""
    with (folder / "events.jsonl").open("a", encoding="utf-8") as events:

        def tell(**event: Any) -> None:
            events.write(json.dumps(event) + "\n")
            events.flush()

        try:
            do(tell)
        except QuantcheckError as error:
            tell(error=type(error).__name__, message=str(error))
            return error.exit_code
        except OSError as error:
            tell(error="StoreError",
                 message=f"{error.filename or folder}: {error.strerror or error}; free disk space and retry")
            return StoreError.exit_code
    return 0
