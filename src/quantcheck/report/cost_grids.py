"""Costs as tables and words: a price to a tenth of a cent, and what it assumes."""

import math
from collections.abc import Sequence
from typing import Literal

from quantcheck.report import figures
from quantcheck.report.grids import VARIANT, WORDS, Column, Grid, Item, Tone
from quantcheck.report.summary import CostRow, CostWord, Figure, LoadCostRow, Summary

__all__ = ["cost_grid", "cost_notes", "load_cost_grid", "load_cost_matrix", "usd"]

TONE: dict[CostWord, Tone] = {"cheaper": "good", "dearer": "bad", "inconclusive": "open"}

DIGITS = 3
"""Most decimals of a price: a tenth of a cent."""


def usd(cost: Figure, *, unit: bool = True, end: Literal["value", "low", "high"] = "value") -> str:
    """`$0.168`; with the decimals that its interval supports, at most three, and never less than two digits."""
    if cost.value is None:
        return figures.missing(cost)
    two = max(0, 1 - math.floor(math.log10(cost.value))) if cost.value else 0
    digits = max(two, figures.decimals(cost, max(DIGITS, two) if cost.value else 0))
    return f"{'$' if unit else ''}{getattr(cost, end):.{digits}f}"


def cost_grid(summary: Summary) -> Grid:
    """Every workload: what a million tokens cost with each variant, in USD."""
    columns = [Column("workload", flexible=True), VARIANT, Column("at", flexible=True), Column("$/h", True),
               Column("output", True), Column("input", True), Column("blended", True), Column("making", True),
               Column("ratio", True), WORDS]  # fmt: skip
    rows = []
    for workload in dict.fromkeys(row.workload for row in summary.costs):
        own = [row for row in summary.costs if row.workload == workload]
        for position, row in enumerate(own):
            rows.append([Item(workload if position == 0 else ""), Item(row.variant), *_fields(row, summary)])
    return Grid(columns, rows)


def _fields(row: CostRow, summary: Summary) -> list[Item]:
    hour = Item(f"{row.hour_usd:,.2f}")
    if row.output.value is None:
        blank = [Item()] * 4
        return [Item(missing=row.output.reason), hour, *blank, Item(), Item(missing=row.output.reason)]
    money = [_item(cost, usd(cost, unit=False)) for cost in (row.output, row.input, row.blended, row.making)]
    if row.variant == summary.experiment.baseline:
        return [Item(row.at or ""), hour, *money, Item("1x", tone="quiet"), Item("baseline", tone="quiet")]
    band = figures.interval(row.ratio, join="-")
    word = Item(missing=row.reason) if row.word is None else Item(row.word, tone=TONE.get(row.word, "quiet"))
    return [Item(row.at or ""), hour, *money, _item(row.ratio, figures.ratio(row.ratio), band), word]


def _item(cost: Figure, text: str, detail: str = "") -> Item:
    return Item(missing=cost.reason) if cost.value is None else Item(text, detail)


def cost_notes(summary: Summary) -> list[str]:
    """What the prices assume; empty without costs."""
    if not summary.costs:
        return []
    first, policy = summary.costs[0], summary.settings.get("policy", {})
    where = (
        "the highest load that meets the SLO" if first.basis == "slo"
        else "the load of the highest measured throughput, because no SLO was given"
    )  # fmt: skip
    hour = policy.get("price", {}).get("gpu_hour_usd", first.hour_usd / first.gpus)
    lines = [
        f"The price is an assumption: ${hour:,.2f} for an hour of one accelerator (or machine), busy all the time.",
        f"USD per million tokens at {where}: the same hour over its output tokens, its input tokens, or both "
        "(blended).",
    ]
    if any(row.making.value is not None for row in summary.costs):
        tokens = policy.get("amortise_tokens", 1e9)
        lines.append(f"making: quantizing, once, at the same price an hour, spread over {tokens:.3g} output tokens.")
    return lines


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
