"""Comparisons of two variants neither of which need be the baseline."""

from typing import Literal

from pydantic import Field

from quantcheck.report.row import Figure, Row

__all__ = ["AskedRow"]


class AskedRow(Row):
    """`variant` against `reference`, one figure; the words are those of the same figure against a baseline.

    `kind`: `size`, bytes as a ratio; `all tasks` and `task`, change of accuracy, paired by item; `perplexity`, a ratio,
    paired by token; `continuations`, the share that is the same to its end; `speed`, output throughput as a ratio over
    all loads and at each. The two have no noise floor of their own.
    """

    reference: str
    variant: str
    kind: Literal["size", "all tasks", "task", "perplexity", "continuations", "speed"]
    subject: str = Field(description="the task, corpus or load; `all loads`; else as `kind`")
    effect: Figure
    n: int | None = Field(description="items, tokens, prompts or blocks; null for size")
    lost: int | None = Field(None, description="items that only `reference` has right")
    gained: int | None = None
    word: str | None = None
