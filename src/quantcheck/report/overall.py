"""All of a variant's quality in one word and one figure."""

import numpy as np

from quantcheck.report.cells import CellIndex
from quantcheck.report.quality import figure
from quantcheck.report.summary import CorpusRow, Figure, QualitySummary, TaskRow
from quantcheck.stats import weighted_mean

__all__ = ["quality_summary"]


def quality_summary(
    index: CellIndex, variant: str, tasks: list[TaskRow], corpora: list[CorpusRow]
) -> QualitySummary:
    """The worst word over the tasks (without tasks, over the corpora), and the change over all items.

    `safe` takes every task: one that is missing or not comparable leaves the whole at `inconclusive`.
    """
    if variant == index.baseline:
        return _baseline(index)
    if index.tasks:
        return _from_tasks(tasks)
    if index.corpora:
        return _from_corpora(corpora)
    reason = index.no_quality
    if index.experiment.quality is not None:
        reason = index.missing(variant, index.unknown[0]) if index.unknown else "no task or corpus in the experiment"
    return _none(reason)


def _none(reason: str) -> QualitySummary:
    gone = Figure(reason=reason)
    empty: list[str] = []
    return QualitySummary(
        word=None, basis="none", n=0, accuracy=gone, delta=gone, lost=0, gained=0, harmed=empty, undecided=empty,
        reason=reason,
    )  # fmt: skip


def _baseline(index: CellIndex) -> QualitySummary:
    cells = [c for t in index.tasks if (c := index.quality(index.baseline, t)) is not None]
    n = sum(int(c.record["result"]["n"]) for c in cells)
    summary = _none("is the baseline")
    if not n:
        return summary.model_copy(update={"accuracy": Figure(reason="no task measured")})
    # Of drawn answers an item's share counts: the mean over the table is the mean over its items.
    right = sum(int(c.record["result"]["n"]) * float(np.mean(c.table("items")["right"])) for c in cells)
    return summary.model_copy(update={"basis": "tasks", "n": n, "accuracy": Figure(value=right / n)})


def _from_tasks(tasks: list[TaskRow]) -> QualitySummary:
    harmed = [row.task for row in tasks if row.word == "harmed"]
    undecided = [row for row in tasks if row.word not in ("harmed", "safe")]
    compared = [row for row in tasks if row.delta.value is not None]
    if not compared:
        reason = next((row.reason for row in tasks if row.reason), "no task could be compared")
        word = "not comparable" if any(row.word == "not comparable" for row in tasks) else None
        return _none(reason).model_copy(
            update={"word": word, "basis": "tasks", "undecided": [row.task for row in undecided]}
        )
    word = "harmed" if harmed else "inconclusive" if undecided else "safe"
    needs = [row.more_items for row in undecided]
    n = sum(row.n for row in compared)
    return QualitySummary(
        word=word,
        basis="tasks",
        n=n,
        accuracy=Figure(value=sum(row.n * (row.accuracy.value or 0.0) for row in compared) / n),
        delta=_together(compared),
        lost=sum(row.lost for row in compared),
        gained=sum(row.gained for row in compared),
        harmed=harmed,
        undecided=[row.task for row in undecided],
        more_items=max(n for n in needs if n) if needs and all(needs) else None,
        reason=next((row.reason for row in undecided if row.reason), None),
    )


def _together(tasks: list[TaskRow]) -> Figure:
    """Over all items; without an interval where the answers decided how many items there are of each task."""
    weights = np.array([row.n for row in tasks], np.float64)
    estimates, lows, highs = (np.array([getattr(row.delta, end) for row in tasks], np.float64)
                              for end in ("value", "low", "high"))
    if any(row.stopped is not None for row in tasks):
        reason = "tasks ended early, at unlike places: see each task's interval"
        return Figure(value=float(weights @ estimates / weights.sum()), reason=reason)
    return figure(weighted_mean(weights, estimates, lows, highs))


def _from_corpora(corpora: list[CorpusRow]) -> QualitySummary:
    harmed = [row.corpus for row in corpora if row.word == "harmed"]
    undecided = [row for row in corpora if row.word not in ("harmed", "safe")]
    reason = next((row.reason for row in undecided if row.reason), None)
    if all(row.word is None for row in corpora):
        return _none(reason or "no corpus could be compared")
    needs = [row.more_units for row in undecided]
    word = "harmed" if harmed else "inconclusive" if undecided else "safe"
    return _none("no task in the experiment").model_copy(
        update={
            "word": word,
            "basis": "perplexity",
            "harmed": harmed,
            "undecided": [row.corpus for row in undecided],
            "more_items": max(n for n in needs if n) if needs and all(needs) else None,
            "reason": reason,
        }
    )
