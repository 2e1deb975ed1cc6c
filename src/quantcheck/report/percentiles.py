"""The table of percentiles: medians over blocks, and what the requests of all blocks together support beyond them."""

from quantcheck.metrics import metric
from quantcheck.report import figures
from quantcheck.report.grids import VARIANT, Column, Grid, Item
from quantcheck.report.summary import Figure, Summary

__all__ = ["PERCENTILE_WORDS", "client_lines", "percentile_grid"]

PERCENTILE_WORDS = (
    "p50 is the median of a block, averaged over blocks (geometric mean), as in the tables above; the others are of "
    "the requests of all blocks together. A percentile is refused where too few requests lie beyond it."
)


def percentile_grid(summary: Summary) -> tuple[Grid, list[str]]:
    """Percentiles by load and variant, and a line for each that no row has requests enough for."""
    heads: list[tuple[str, str]] = []
    columns: list[list[Figure]] = []
    refused: dict[str, list[str]] = {}
    last = ""
    for at, head in enumerate(summary.loads[0].percentiles):
        if head.metric != last:
            last = head.metric
            heads.append((head.metric, "p50"))
            columns.append(_medians(summary, head.metric))
        column = [row.percentiles[at].value for row in summary.loads]
        if any(figure.value is not None for figure in column):
            heads.append((head.metric, head.percentile))
            columns.append(column)
        else:
            reasons = "; ".join(dict.fromkeys(figure.reason or "" for figure in column))
            refused.setdefault(f"{head.percentile}: n/a ({reasons})", []).append(metric(head.metric).label)
    names = [Column("load", flexible=True), VARIANT, Column("requests", True), Column("failed", True),
             *(Column(f"{metric(key).label} {name}, ms", True) for key, name in heads)]  # fmt: skip
    rows = [
        [Item(row.load), Item(row.variant), Item(f"{row.requests:,}"), Item(f"{row.failed:,}"),
         *(_item(column[at], key) for column, (key, _) in zip(columns, heads, strict=True))]
        for at, row in enumerate(summary.loads)
    ]  # fmt: skip
    return Grid(names, rows), [f"{', '.join(labels)} {why}" for why, labels in refused.items()]


def client_lines(summary: Summary) -> list[str]:
    """What to know of the windows: how late the client itself was at most, and loads that came to no steady state."""
    lines = []
    for key, what in (("schedule_lag", "sent"), ("read_lag", "read")):
        lags = [lag.value for row in summary.loads if (lag := getattr(row, key)).value is not None]
        if lags:
            lines.append(f"The client {what} at most {max(lags) * 1e3:.2g} ms late (p99 of the worst block).")
    return lines + [
        f"{row.variant} at {row.load}: latencies came to no steady state in {row.saturated} of {row.blocks} blocks; "
        "they depend on how long was measured."
        for row in summary.loads if row.saturated
    ]  # fmt: skip


def _medians(summary: Summary, key: str) -> list[Figure]:
    known = {(row.load, row.variant): row.value for row in summary.speed if row.metric == key}
    none = Figure(reason="not in the stored cells")
    return [known.get((row.load, row.variant), none) for row in summary.loads]


def _item(figure: Figure, key: str) -> Item:
    return Item(missing=figure.reason) if figure.value is None else Item(figures.value(figure, key, unit=False))
