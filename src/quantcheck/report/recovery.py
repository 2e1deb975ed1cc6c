"""Accuracy recovery: which share of the baseline's accuracy a variant keeps, by task and over all of them."""

from quantcheck.report import figures
from quantcheck.report.cells import short_names
from quantcheck.report.grids import VARIANT, Column, Grid, Item
from quantcheck.report.summary import Figure, Summary

__all__ = ["RECOVERY_WORDS", "recovery", "recovery_grid"]

RECOVERY_WORDS = (
    "Recovery is the variant's accuracy over the baseline's, on the same items. Its interval is that of the change "
    "over the baseline's accuracy, which counts as known; the verdicts rest on the change."
)


def recovery(accuracy: Figure, delta: Figure) -> Figure:
    """accuracy / (accuracy - delta), a fraction, with the interval of `delta` on the same scale.

    The baseline's accuracy is taken from the two, so that it is that of the items which were paired.
    """
    if accuracy.value is None or delta.value is None:
        return Figure(reason=accuracy.reason if accuracy.value is None else delta.reason)
    base = accuracy.value - delta.value
    if base <= 0:
        return Figure(reason="the baseline has no item right")
    if delta.low is None or delta.high is None:
        return Figure(value=accuracy.value / base, reason=delta.reason)
    return Figure(value=accuracy.value / base, low=1 + delta.low / base, high=1 + delta.high / base)


def recovery_grid(summary: Summary) -> Grid:
    """Every task and all of them together: items, both accuracies, and the share that is kept."""
    columns = [Column("task", flexible=True), VARIANT, Column("items", True), Column("baseline", True),
               Column("variant's", True), Column("recovery", True), Column("95% CI")]  # fmt: skip
    names = short_names(dict.fromkeys(row.task for row in summary.quality))
    rows: list[list[Item]] = []
    for task, name in names.items():
        own = [row for row in summary.quality if row.task == task]
        for at, row in enumerate(own):
            rows.append(_row("" if at else name, row.variant, row.n, row.accuracy, row.delta))
    together = [row for row in summary.variants if not row.baseline and row.quality.basis == "tasks"]
    if len(names) > 1:
        rows += [_row("" if at else "all tasks", row.name, row.quality.n, row.quality.accuracy, row.quality.delta)
                 for at, row in enumerate(together)]
    return Grid(columns, rows)


def _row(task: str, variant: str, items: int, accuracy: Figure, delta: Figure) -> list[Item]:
    kept = recovery(accuracy, delta)
    head = [Item(task), Item(variant), Item(f"{items:,}" if items else "")]
    if accuracy.value is None or delta.value is None or kept.value is None:
        why = Item(missing=kept.reason)
        return [*head, Item(), Item(), why, Item()]
    base = Figure(value=accuracy.value - delta.value)
    return [*head, Item(figures.percent(base)), Item(figures.percent(accuracy)),
            Item(figures.value(kept, "accuracy")), Item(band(kept), tone="quiet")]  # fmt: skip


def band(kept: Figure) -> str:
    """`98.7-99.6%`; empty without an interval."""
    if kept.low is None or kept.high is None:
        return ""
    digits = figures.shared_decimals([kept], "accuracy")
    return f"{kept.low * 100:.{digits}f}-{kept.high * 100:.{digits}f}%"
