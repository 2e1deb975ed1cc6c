"""How the time between tokens grows with load: each workload's ITL as a multiple of that at its lowest load."""

import numpy as np

from quantcheck.report import figures
from quantcheck.report.capacity import ladders
from quantcheck.report.cells import CellIndex
from quantcheck.report.grids import Column, Grid, Item
from quantcheck.report.speed import ratio_figure
from quantcheck.report.summary import DegradationRow, Figure, Summary
from quantcheck.stats import block_log_ratios, ratio_interval

__all__ = ["DEGRADATION_WORDS", "degradation_grid", "degradation_rows"]

DEGRADATION_WORDS = "Median time between tokens as a multiple of that at the workload's lowest load."


def degradation_rows(index: CellIndex) -> list[DegradationRow]:
    """ITL at every load above a workload's lowest, over ITL there, per variant and by block."""
    rows = []
    for ladder in ladders(index):
        lowest, *others = ladder.rungs.values()
        for load in others:
            for variant in index.variants:
                logs = block_log_ratios(*(index.metric_by_block(variant, at, "itl") for at in (lowest, load)))
                if logs:
                    ratio = ratio_interval(np.array(list(logs.values())))
                    found, reason = ratio_figure(ratio), ratio.reason
                else:
                    measured = index.load(variant, load) and index.load(variant, lowest)
                    reason = "ITL is not in the stored cells" if measured else index.missing(variant, load)
                    found = Figure(reason=reason)
                rows.append(DegradationRow(
                    load=load, lowest=lowest, variant=variant, ratio=found, blocks=len(logs), reason=reason,
                ))  # fmt: skip
    return rows


def degradation_grid(summary: Summary) -> Grid:
    """The time between tokens under load, as a multiple of that at the lowest load: a line per load."""
    variants = list(dict.fromkeys(row.variant for row in summary.degradation))
    columns = [Column("load", flexible=True), Column("against", flexible=True), *(Column(v, True) for v in variants)]
    rows = []
    for load in dict.fromkeys(row.load for row in summary.degradation):
        own = {row.variant: row for row in summary.degradation if row.load == load}
        cells = [
            Item(missing=own[v].ratio.reason) if own[v].ratio.value is None
            else Item(figures.ratio(own[v].ratio), figures.interval(own[v].ratio, join="-"))
            for v in variants
        ]  # fmt: skip
        rows.append([Item(load), Item(own[variants[0]].lowest), *cells])
    return Grid(columns, rows)
