"""The table of speed over all loads: every metric's geometric mean of ratios."""

from quantcheck.metrics import metric
from quantcheck.report import figures
from quantcheck.report.grids import TONES, Column, Grid, Item
from quantcheck.report.summary import MeanSpeedRow, Summary

__all__ = ["mean_grid"]


def mean_grid(summary: Summary) -> Grid:
    """All loads together: a line per metric, a column per variant."""
    variants = list(dict.fromkeys(row.variant for row in summary.speed_means))
    rows = []
    for key in dict.fromkeys(row.metric for row in summary.speed_means):
        own = {row.variant: row for row in summary.speed_means if row.metric == key}
        rows.append([Item(metric(key).label), *(_field(own[variant]) for variant in variants)])
    return Grid([Column("all loads"), *(Column(variant) for variant in variants)], rows)


def _field(row: MeanSpeedRow) -> Item:
    if row.ratio.value is None or row.word is None:
        return Item(missing=row.reason or row.ratio.reason)
    band = figures.interval(row.ratio, join="-")
    words = ", ".join(part for part in (band, row.word) if part)
    return Item(figures.ratio(row.ratio), words, TONES[row.word])
