"""Exploratory: which parts of a task lose most, by group, by length of the prompt, by language."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from quantcheck.report import figures
from quantcheck.report.answers import compare_answers
from quantcheck.report.cells import Cell, CellIndex, short_names
from quantcheck.report.grids import Column, Grid, Item
from quantcheck.report.pairs import Pair, pair_cells
from quantcheck.report.summary import Figure, SliceRow, Summary
from quantcheck.stats.slices import FEWEST_ITEMS, benjamini_hochberg

__all__ = ["MOST_SHOWN", "found", "slice_grid", "slice_rows", "slice_words"]

MOST_SHOWN = 5
"""Slices that a terminal shows; all are in the Markdown and the JSON."""

LEVEL = 0.05

AFTER_LOOKING = "ended early: p-values hold for a number of items that was planned"


def slice_rows(index: CellIndex, variant: str) -> list[SliceRow]:
    """Every slice of every task of one variant that could be paired; empty for the baseline."""
    cut: list[SliceRow] = []
    for task in index.tasks if variant != index.baseline else ():
        ours, theirs = index.quality(index.baseline, task), index.quality(variant, task)
        pair = pair_cells(ours, theirs) if ours and theirs else ""
        if ours is None or theirs is None or isinstance(pair, str):
            continue  # its row among the tasks says why
        looked = "early" in theirs.record["result"]
        cut += [_row(task, variant, by, name, pair, inside, looked) for by, name, inside in _cuts(ours, pair)]
    tested = [row for row in cut if row.p is not None]
    adjusted = iter(benjamini_hochberg([row.p for row in tested if row.p is not None]) if tested else [])
    return [row if row.p is None else row.model_copy(update={"q": next(adjusted)}) for row in cut]


def _row(
    task: str, variant: str, by: str, name: str, pair: Pair, inside: npt.NDArray[np.bool_], looked: bool
) -> SliceRow:
    n = int(inside.sum())
    fields: dict[str, Any] = {"task": task, "variant": variant, "by": by, "slice": name, "n": n, "p": None, "q": None}
    if n < FEWEST_ITEMS:
        few = f"{n} items: a slice needs at least {FEWEST_ITEMS}"
        return SliceRow(**fields, delta=Figure(reason=few), lost=0, gained=0, reason=few)
    result = compare_answers(pair.baseline[inside], pair.variant[inside], margin=1.0)
    delta = Figure(value=result.delta, low=result.low, high=result.high)
    fields |= {"lost": result.flips.lost, "gained": result.flips.gained}
    if looked:
        return SliceRow(**fields, delta=delta.model_copy(update={"low": None, "high": None}), reason=AFTER_LOOKING)
    return SliceRow(**{**fields, "p": result.p}, delta=delta)


def _cuts(cell: Cell, pair: Pair) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """(by what, name, which of the pair's items) for every slice of a task, from the baseline's table."""
    table = cell.table("items")
    ids = np.asarray(table["id"]).astype(str)
    _, first = np.unique(ids, return_index=True)
    # The baseline may have answered more items than the pair holds: its task went on to the end.
    first = first[np.isin(ids[first], pair.ids)]
    for by, column in (("group", "group"), ("language", "language")):
        names = np.asarray(table[column]).astype(str)[first] if column in table else np.empty(0, dtype=str)
        known = sorted(set(names.tolist()) - {""})
        if len(known) >= 2:
            for name in known:
                yield by, name, names == name
    if "prompt_tokens" in table:
        yield from _lengths(np.asarray(table["prompt_tokens"])[first])


def _lengths(tokens: npt.NDArray[np.integer]) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Thirds of the items by the prompt's length; fewer where lengths coincide, none where all are equal."""
    edges = np.unique(np.quantile(tokens, [1 / 3, 2 / 3], method="inverted_cdf"))
    third = np.searchsorted(edges, tokens, side="left")
    if len(set(third.tolist())) < 2:
        return
    for number in sorted(set(third.tolist())):
        inside = third == number
        least, most = int(tokens[inside].min()), int(tokens[inside].max())
        yield "prompt length", f"{least} tokens" if least == most else f"{least} to {most} tokens", inside


def found(summary: Summary, most: int | None = None) -> list[SliceRow]:
    """The slices to look at: q <= 0.05, the smallest q first, at most `most`."""
    rows = [row for row in summary.slices if row.q is not None and row.q <= LEVEL]
    return sorted(rows, key=lambda row: (row.q, row.p, row.task, row.variant, row.slice))[:most]


def slice_grid(summary: Summary, most: int | None = None) -> Grid:
    """What was `found`."""
    columns = [Column("task", flexible=True), Column("variant", flexible=True), Column("slice", flexible=True),
               Column("items", True), Column("change", True), Column("95% CI"), Column("lost", True),
               Column("gained", True), Column("p", True), Column("q", True)]  # fmt: skip
    names = short_names(dict.fromkeys(row.task for row in summary.quality))
    return Grid(columns, [_fields(row, names.get(row.task, row.task)) for row in found(summary, most)])


def slice_words(summary: Summary) -> str:
    """How many slices there are, and what became of those that are not shown."""
    tested = sum(row.q is not None for row in summary.slices)
    refused = len(summary.slices) - tested
    text = (
        f"{len(summary.slices)} parts of tasks, of which {tested} were tested and {len(found(summary))} have "
        f"q <= {LEVEL:g}. They overlap and were not planned for; q is Benjamini and Hochberg's, over the slices of a "
        "variant. They show where to look; no verdict rests on them."
    )
    return text + (f" {refused} were not tested; `slices` in summary.json says why." if refused else "")


def _fields(row: SliceRow, task: str) -> list[Item]:
    head = [Item(task), Item(row.variant), Item(f"{row.by} {row.slice}"), Item(f"{row.n:,}")]
    p, q = Item(figures.p_value(row.p)), Item(figures.p_value(row.q))
    return [*head, Item(figures.points(row.delta)), Item(figures.points_interval(row.delta), tone="quiet"),
            Item(f"{row.lost:,}"), Item(f"{row.gained:,}"), p, q]  # fmt: skip
