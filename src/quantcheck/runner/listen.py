"""Listening to a process of ours that writes what it does, one JSON object a line."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from quantcheck import errors
from quantcheck.errors import EngineError, QuantcheckError
from quantcheck.process.managed import ManagedProcess
from quantcheck.runner.progress import Progress

__all__ = ["events_of", "raised"]

SILENCE_S = 600.0
POLL_S = 0.02


def events_of(
    path: Path, process: ManagedProcess, progress: Progress, check: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    """The process's events as they come. Ends never by itself: raises `EngineError` when the process does, or when
    `check` finds that what answers it is gone.
    """
    position, heard = 0, time.monotonic()
    while True:
        alive = process.running()  # asked before reading: what it wrote before its end is then read, too
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text.rfind("\n") + 1
        for line in text[position:whole].splitlines():
            heard = time.monotonic()
            yield json.loads(line)
        if whole == position:
            check()
            if not alive:
                process.check()
            if time.monotonic() - heard > SILENCE_S:
                raise EngineError(f"{process.name} said nothing for {SILENCE_S:.0f} s and was ended; "
                                  f"see {process.log}, or give it more threads (engine.scoring_threads)")
            progress.pulse()
            time.sleep(POLL_S)
        position = whole


def raised(event: Mapping[str, Any]) -> QuantcheckError:
    """The error that the process told of, to be raised here."""
    kind = getattr(errors, event["error"], EngineError)
    error: QuantcheckError = kind(event["message"])
    return error
