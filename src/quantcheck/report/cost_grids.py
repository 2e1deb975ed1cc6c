"""Costs as tables and words: a price to a tenth of a cent, and what it assumes."""

import math
from typing import Literal

from quantcheck.report import figures
from quantcheck.report.grids import QUIET_BASELINE, SAME, VARIANT, WORDS, Column, Grid, Item, Tone
from quantcheck.report.summary import CostRow, CostWord, Figure, LoadCostRow, Summary

__all__ = ["TONE", "cost_grid", "cost_notes", "load_cost_grid", "usd"]

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
        return [Item(row.at or ""), hour, *money, SAME, QUIET_BASELINE]
    band = figures.interval(row.ratio, join="-")
    return [Item(row.at or ""), hour, *money, _item(row.ratio, figures.ratio(row.ratio), band), _word(row)]


def _word(row: CostRow | LoadCostRow) -> Item:
    return Item(missing=row.reason) if row.word is None else Item(row.word, tone=TONE.get(row.word, "quiet"))


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
        head = [Item("" if row.load == before else row.load), Item(row.variant),
                _item(row.output, usd(row.output, unit=False))]
        if row.variant == summary.experiment.baseline:
            rows.append([*head, SAME, Item(), QUIET_BASELINE])
        else:
            rows.append([*head, *_against(row)])
        before = row.load
    return Grid(columns, rows)


def _against(row: LoadCostRow) -> list[Item]:
    if row.ratio.value is None:
        return [Item(missing=row.ratio.reason), Item(), Item()]
    return [Item(figures.ratio(row.ratio)), Item(figures.interval(row.ratio, join="-"), tone="quiet"), _word(row)]

