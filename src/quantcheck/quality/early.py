"""Ending a variant's task as soon as its answers are enough: items in a seeded random order, looked at as they come.

The test is `stats.sequential`'s: valid however often it is looked at, so that it is looked at after every chunk. All
that the decision rests on is stored, and follows again from the items table alone (`report/stopped.py`).
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from quantcheck.quality.suite import JudgedSuite, Suite
from quantcheck.stats.sequential import look_order, stop

__all__ = ["ALPHA", "EarlyStop", "Watch", "in_look_order", "look_every"]

ALPHA = 0.05
"""The chance of one false `safe` over a variant's tasks, and of one false `harmed`."""

ANSWERS_PER_THREAD = 64
"""Between two looks: as many as a thread has in flight. Fewer would leave its slots empty, more only delays the end."""


def look_every(threads: int) -> int:
    """Answers between two looks."""
    return ANSWERS_PER_THREAD * max(threads, 2)


class EarlyStop(BaseModel):
    """What a variant's tasks are held against.

    `tasks`: how many are judged together; `margins`: fractions, by task; `baseline`: by task, by item, the share of
    the baseline's draws that were right (1 or 0 for a single answer).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: int
    margins: dict[str, float]
    baseline: dict[str, dict[str, float]]

    def watch(self, task: JudgedSuite) -> "Watch":
        """A watch over one task, its items in look order."""
        right = self.baseline[task.name]
        return Watch(np.array([right[item.id] for item in task.items]), self.margins[task.name], self.tasks)


class Watch:
    """Asked after each chunk of answers whether they are enough; keeps what it saw."""

    def __init__(self, baseline: NDArray[np.float64], margin: float, tasks: int) -> None:
        self._baseline = baseline
        self._margin = margin
        self._tasks = tasks
        self._differences = np.empty(0)
        self._looks: list[list[float]] = []
        self._word: str | None = None

    def enough(self, right: NDArray[np.bool_]) -> bool:
        """Take in the next items' answers [items, draws]; True when the task is decided."""
        seen = len(self._differences)
        new = right.mean(axis=1) - self._baseline[seen : seen + len(right)]
        self._differences = np.concatenate([self._differences, new])
        found = stop(self._differences, self._margin, alpha=ALPHA, tasks=self._tasks)
        self._looks.append([len(self._differences), found.log_e_safe, found.log_e_harmed])
        self._word = found.word
        return found.word is not None

    def record(self, seed: int) -> dict[str, Any]:
        """What is stored with the cell; `looks`: items seen, and the greatest log of both e-values until then."""
        return {
            "word": self._word,
            "items": len(self._differences),
            "of": len(self._baseline),
            "margin": self._margin,
            "tasks": self._tasks,
            "alpha": ALPHA,
            "order_seed": seed,
            "looks": self._looks,
        }


def in_look_order(suite: Suite, seed: int) -> Suite:
    """A task with its items in the order in which they are looked at; what is no task as it is."""
    if not isinstance(suite, JudgedSuite):
        return suite
    order = look_order([item.id for item in suite.items], seed)
    return replace(suite, items=tuple(suite.items[place] for place in order))
