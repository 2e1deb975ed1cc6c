"""Tables of the comparisons that were asked for, and of the tasks by what they lose."""

from collections.abc import Iterator

import numpy as np

from quantcheck.report import figures
from quantcheck.report.cells import short_names
from quantcheck.report.grids import RATIO_DIGITS, TONES, Column, Grid, Item
from quantcheck.report.summary import AskedRow, Summary, TaskRow

__all__ = ["asked_sections"]

ASKED_WORDS = (
    "Out of the same cells, paired in the same way; the one that it is against takes the baseline's place, and `lost` "
    "are items that only that one has right. There is no noise floor of such a pair."
)
TASKS_WORDS = (
    "Tasks by the mean of their changes over the variants, the largest loss first: a descriptive order, without a test."
)


def asked_sections(summary: Summary) -> Iterator[tuple[str, str, Grid]]:
    """(heading, explanation, table) of what there is."""
    variants = [row.name for row in summary.variants if not row.baseline]
    if len(variants) > 1 and len({row.task for row in summary.quality}) > 1:
        yield "### Which tasks lose most", TASKS_WORDS, _tasks(summary, variants)
    for reference, variant in dict.fromkeys((row.reference, row.variant) for row in summary.asked):
        rows = [row for row in summary.asked if (row.reference, row.variant) == (reference, variant)]
        yield f"### {variant} against {reference}", ASKED_WORDS, _pair(summary, rows)


def _tasks(summary: Summary, variants: list[str]) -> Grid:
    names = short_names(dict.fromkeys(row.task for row in summary.quality))
    means: dict[str, float] = {}
    for task in names:
        known = [row.delta.value for row in summary.quality if row.task == task and row.delta.value is not None]
        means[task] = float(np.mean(known)) if known else float("inf")
    rows = []
    for task in sorted(names, key=lambda task: means[task]):
        own = {row.variant: row for row in summary.quality if row.task == task}
        mean = Item(f"{100 * means[task]:+.1f} pp") if np.isfinite(means[task]) else Item(missing="nothing to compare")
        rows.append([Item(names[task]), mean, *(_change(own.get(variant)) for variant in variants)])
    return Grid([Column("task", flexible=True), Column("mean change", True), *(Column(v) for v in variants)], rows)


def _change(row: TaskRow | None) -> Item:
    if row is None or row.delta.value is None:
        return Item(missing="not compared" if row is None else row.delta.reason)
    return Item(figures.points(row.delta), tone=TONES[row.word])


def _pair(summary: Summary, rows: list[AskedRow]) -> Grid:
    names = short_names(dict.fromkeys([*(row.task for row in summary.quality), *(c.corpus for c in summary.corpora)]))
    columns = [Column("what"), Column("n", True), Column("difference", True), Column("95% CI"), Column("lost", True),
               Column("gained", True), Column("verdict", flexible=True)]  # fmt: skip
    return Grid(columns, [_fields(row, names.get(row.subject, row.subject)) for row in rows])


def _fields(row: AskedRow, name: str) -> list[Item]:
    what = {"perplexity": f"perplexity, {name}", "continuations": "same continuation", "speed": f"speed, {name}"}
    effect = row.effect
    if effect.value is None:
        shown, band = Item(missing=effect.reason), Item()
    elif row.kind in ("task", "all tasks"):
        shown, band = Item(figures.points(effect)), Item(figures.points_interval(effect), tone="quiet")
    elif row.kind == "continuations":
        shown = Item(f"{effect.value:.0%}")
        band = Item(f"{effect.low or 0:.0%} to {effect.high or 0:.0%}", tone="quiet")
    else:
        digits = RATIO_DIGITS if row.kind == "perplexity" else 2
        shown, band = Item(figures.ratio(effect, digits)), Item(figures.interval(effect, digits), tone="quiet")
    return [
        Item(what.get(row.kind, name)), Item("" if row.n is None else f"{row.n:,}"), shown, band,
        Item("" if row.lost is None else f"{row.lost:,}"), Item("" if row.gained is None else f"{row.gained:,}"),
        Item(row.word, tone=TONES.get(row.word, "")) if row.word else Item(),
    ]  # fmt: skip
