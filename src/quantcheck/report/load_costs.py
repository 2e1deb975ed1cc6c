"""What a variant's output tokens cost at each load: whether a saving holds as the load grows."""

from collections import Counter
from collections.abc import Sequence

from quantcheck.report import figures
from quantcheck.report.blocks import THROUGHPUT, figures_by_block, left_out, noise_of
from quantcheck.report.cells import CellIndex
from quantcheck.report.costs import TONE, compared, cost_of, usd, workload_of
from quantcheck.report.grids import VARIANT, WORDS, Column, Grid, Item
from quantcheck.report.summary import Figure, LoadCostRow, SpeedRow, Summary
from quantcheck.stats.cost import usd_per_million

__all__ = ["load_cost_grid", "load_cost_matrix", "load_cost_rows"]


def load_cost_rows(index: CellIndex, speed: Sequence[SpeedRow]) -> list[LoadCostRow]:
    """A row per load and variant, of workloads with several loads; none without a price.

    `speed` gives the throughputs. The hour is taken as busy all through at that load.
    """
    price = index.experiment.policy.price
    if price is None:
        return []
    throughput = {(row.load, row.variant): row for row in speed if row.metric == THROUGHPUT}
    several = Counter(map(workload_of, index.loads))
    return [_row(index, throughput[load, variant], price.hour_usd(variant), price.hour_usd(index.baseline))
            for load in index.loads if several[workload_of(load)] > 1
            for variant in index.variants if (load, variant) in throughput]


def _row(index: CellIndex, speed: SpeedRow, hour: float, baseline_hour: float) -> LoadCostRow:
    output = cost_of(speed.value, hour)
    if speed.variant == index.baseline:
        return LoadCostRow(load=speed.load, variant=speed.variant, output=output, word=None,
                           ratio=Figure(reason="is the baseline"))
    ratio, word, reason = compared(
        index, _by_block(index, index.baseline, speed.load, baseline_hour),
        _by_block(index, speed.variant, speed.load, hour), noise_of(index, index.baseline, speed.load, THROUGHPUT),
    )  # fmt: skip
    if ratio.value is None:
        reason = output.reason or reason
        ratio = Figure(reason=reason)
    return LoadCostRow(load=speed.load, variant=speed.variant, output=output, ratio=ratio, word=word, reason=reason)


def _by_block(index: CellIndex, variant: str, load: str, hour: float) -> dict[int, float]:
    gone = left_out(index, variant)
    return {block: usd_per_million(rate, hour)
            for block, rate in figures_by_block(index, variant, load, THROUGHPUT).items() if block not in gone}


def load_cost_grid(summary: Summary) -> Grid:
    """A line per load and variant."""
    columns = [Column("load", flexible=True), VARIANT, Column("output", True), Column("ratio", True), Column("95% CI"),
               WORDS]  # fmt: skip
    rows, before = [], ""
    for row in summary.load_costs:
        head = [Item("" if row.load == before else row.load), Item(row.variant), _money(row)]
        if row.variant == summary.experiment.baseline:
            rows.append([*head, Item("1x", tone="quiet"), Item(), Item("baseline", tone="quiet")])
        else:
            rows.append([*head, *_against(row)])
        before = row.load
    return Grid(columns, rows)


def _money(row: LoadCostRow) -> Item:
    return Item(missing=row.output.reason) if row.output.value is None else Item(usd(row.output, unit=False))


def _against(row: LoadCostRow) -> list[Item]:
    if row.ratio.value is None:
        return [Item(missing=row.ratio.reason), Item(), Item()]
    word = Item(missing=row.reason) if row.word is None else Item(row.word, tone=TONE.get(row.word, "quiet"))
    return [Item(figures.ratio(row.ratio)), Item(figures.interval(row.ratio, join="-"), tone="quiet"), word]


def load_cost_matrix(summary: Summary, variants: Sequence[str]) -> Grid:
    """A line per load, a column per variant: the cost, under it its ratio and interval."""
    baseline = summary.experiment.baseline
    columns = [Column("load", flexible=True), Column(baseline), *(Column(v, flexible=True) for v in variants)]
    rows = []
    for load in dict.fromkeys(row.load for row in summary.load_costs):
        own = {row.variant: row for row in summary.load_costs if row.load == load}
        rows.append([Item(load), *(_cell(own.get(name)) for name in (baseline, *variants))])
    return Grid(columns, rows)


def _cell(row: LoadCostRow | None) -> Item:
    if row is None or row.output.value is None:
        return Item(missing="not measured" if row is None else row.output.reason)
    if row.ratio.value is None:
        return _money(row)
    band = figures.interval(row.ratio, join="-")
    return Item(usd(row.output, unit=False), figures.ratio(row.ratio) + (f", {band}" if band else ""),
                TONE.get(row.word, "quiet") if row.word else "quiet")
