"""The roofline as a table, its numbers short, and its sentences for a terminal."""

from quantcheck.report import figures
from quantcheck.report.grids import Column, Grid, Item
from quantcheck.report.summary import Figure, Summary

__all__ = ["ROOFLINE_WORDS", "roofline_grid", "shown_explanations"]

ROOFLINE_WORDS = (
    "Bytes and FLOP are those of decode, per token: weights once a step, keys and values; activations left out. MBU "
    "and MFU are their shares of the bandwidth and of the arithmetic rate that were measured on this machine (see "
    "Environment), over the time per output token, which with several streams holds the prefill of other requests, "
    "too. Predicted: the ratio of output throughput if the variant differed in bytes and arithmetic alone and had the "
    "overhead of the baseline. No gain from: the number of requests at once from which on the prediction lies within "
    "the margin."
)


def roofline_grid(summary: Summary) -> Grid:
    """Every load and variant: decode's bytes and arithmetic per token, shares of the ceilings, and the prediction."""
    columns = [Column("load", flexible=True), Column("variant", flexible=True), Column("batch", True),
               Column("bytes/token", True), Column("FLOP/token", True), Column("MBU", True), Column("MFU", True),
               Column("prefill MFU", True), Column("bound by"), Column("predicted", True), Column("measured", True),
               Column("no gain from", True)]  # fmt: skip
    rows: list[list[Item]] = []
    last = ""
    for row in summary.roofline:
        head = [Item("" if row.load == last else row.load), Item(row.variant)]
        last = row.load
        if row.reason:
            rows.append([*head, *[Item()] * 9, Item(missing=row.reason)])
            continue
        baseline = row.variant == summary.experiment.baseline
        ratios = [Item("1x", tone="quiet"), Item("1x", tone="quiet"), Item()] if baseline else [
            _ratio(row.predicted), _ratio(row.measured), _from(row.crossover)]
        rows.append([
            *head, Item(f"{row.batch:.3g}"), Item(_amount(row.bytes_per_token, "B")),
            Item(_amount(row.flops_per_token, "FLOP")), _share(row.mbu), _share(row.mfu),
            Item() if row.prefill_mfu.value is None else _share(row.prefill_mfu), Item(row.bound or ""), *ratios,
        ])
    return Grid(columns, rows)


def shown_explanations(summary: Summary) -> list[str]:
    """For a terminal: each variant's sentence for the first workload that has one."""
    first: dict[str, str] = {}
    for row in summary.explanations:
        first.setdefault(row.variant, f"{row.sentence} ({row.workload})")
    return list(first.values())


def _ratio(figure: Figure) -> Item:
    return Item(missing=figure.reason) if figure.value is None else Item(figures.ratio(figure))


def _share(figure: Figure) -> Item:
    return Item(missing=figure.reason) if figure.value is None else Item(figures.percent(figure, 0))


def _from(figure: Figure) -> Item:
    return Item((figure.reason or "").split(",")[0], tone="quiet") if figure.value is None else Item(
        f"batch {figure.value:,.0f}")


def _amount(figure: Figure, unit: str) -> str:
    """`14.2 GB`, to three digits."""
    value = figure.value or 0.0
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"
