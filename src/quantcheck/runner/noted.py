"""What a run has in hand, left in a file of its results folder for whoever looks on from outside (the dashboard)."""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from quantcheck.runner.plan import Task
from quantcheck.runner.progress import Progress

__all__ = ["Noted"]

EVERY_S = 1.0
"""Within a cell it is written no more often: a measurement goes on beside it."""


class Noted:
    """Passes everything on to `inner`, and keeps the latest of it in `file`.

    `{"doing": "..."}` outside of a cell; inside `{"variant", "subject", "block", "done", "of"}`, `block` from 0.
    """

    def __init__(self, inner: Progress, file: Path) -> None:
        self._inner = inner
        self._file = file
        self._place: tuple[Any, ...] | None = None
        self._written = 0.0
        self._note({"doing": "starting"})

    def begin(self, tasks: Sequence[Task], stored: int) -> None:
        self._note({"doing": "measuring"})
        self._inner.begin(tasks, stored)

    def preparing(self, what: str) -> None:
        self._note({"doing": what})
        self._inner.preparing(what)

    def started(self, variant: str, seconds: float) -> None:
        self._inner.started(variant, seconds)

    def step(self, variant: str, subject: str, done: int, of: int, block: int = 0) -> None:
        if (variant, subject, block) != self._place or time.monotonic() - self._written > EVERY_S:
            self._note({"variant": variant, "subject": subject, "block": block, "done": done, "of": of})
            self._place = variant, subject, block
        self._inner.step(variant, subject, done, of, block)

    def finished(self, variant: str, subject: str, block: int, seconds: float) -> None:
        self._inner.finished(variant, subject, block, seconds)

    def note(self, text: str) -> None:
        self._inner.note(text)

    def pulse(self) -> None:
        self._inner.pulse()

    def _note(self, what: dict[str, Any]) -> None:
        part = self._file.with_name(f".{self._file.name}.part")
        # Not brought to the disk: nobody needs it after a power cut. And a run does not end for want of it.
        with suppress(OSError):
            part.write_text(json.dumps(what), encoding="utf-8")
            part.replace(self._file)
        self._place, self._written = None, time.monotonic()
