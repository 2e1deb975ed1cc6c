"""Energy per output token, as rows, as a table and as lines for a terminal."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from quantcheck.report import figures
from quantcheck.report.cells import CellIndex
from quantcheck.report.gpu import NO_TELEMETRY, gpu_of, has_gpu, missing_of
from quantcheck.report.grids import BLANK, VARIANT, WORDS, Column, Grid, Item, Tone, blocks_needed
from quantcheck.report.speed import mean_row, speed_row
from quantcheck.report.summary import EnergyRow, EnergyWord, Figure, SpeedWord, Summary

__all__ = ["ENERGY", "energy_grid", "energy_lines", "energy_rows"]

ENERGY = "joules_per_token"
ALL_LOADS = "all loads"

WORDS_OF_ENERGY: dict[SpeedWord, EnergyWord] = {
    "faster": "less energy",
    "slower": "more energy",
    "no detectable difference": "no detectable difference",
    "inconclusive": "inconclusive",
    "not comparable": "not comparable",
}
TONE: dict[EnergyWord, Tone] = {"less energy": "good", "more energy": "bad", "inconclusive": "open",
                                "not comparable": "open", "no detectable difference": "quiet"}


def energy_rows(index: CellIndex) -> list[EnergyRow]:
    """A row per load and variant, then one over all loads per variant but the baseline; none without GPU telemetry.

    Ratios are those of a time (`speed_row`): paired by block, less is better, the margin and the floor of speed.
    """
    if not has_gpu(index):
        return []
    rows = [_row(index, variant, load) for load in index.loads for variant in index.variants]
    if len(index.loads) > 1:
        rows += [_together(index, variant) for variant in index.variants if variant != index.baseline]
    return rows


def _row(index: CellIndex, variant: str, load: str) -> EnergyRow:
    row = speed_row(index, variant, load, ENERGY)
    value, ratio, reason = row.value, row.ratio, row.reason
    if value.value is None and (why := _why(index, variant, load)):
        value, ratio, reason = Figure(reason=why), Figure(reason=why), why
    elif ratio.value is None and (why := _why(index, index.baseline, load)):
        ratio, reason = Figure(reason=f"{index.baseline}: {why}"), f"{index.baseline}: {why}"
    return EnergyRow(
        load=load, variant=variant, joules_per_token=value, power_w=_power(index, variant, load), ratio=ratio,
        blocks=row.blocks, spread=row.spread, word=None if row.word is None else WORDS_OF_ENERGY[row.word],
        more_blocks=row.more_blocks, reason=reason,
    )  # fmt: skip


def _together(index: CellIndex, variant: str) -> EnergyRow:
    row = mean_row(index, variant, ENERGY)
    none = Figure(reason="loads differ in it: only ratios have a mean")
    return EnergyRow(
        load=ALL_LOADS, variant=variant, joules_per_token=none, power_w=none, ratio=row.ratio, blocks=row.blocks,
        spread=row.spread, word=None if row.word is None else WORDS_OF_ENERGY[row.word], more_blocks=row.more_blocks,
        reason=row.reason,
    )  # fmt: skip


def _why(index: CellIndex, variant: str, load: str) -> str | None:
    """Why a window that was measured has no energy per token, in NVML's words where it said so."""
    records = [cell.record for cell in index.load(variant, load).values()]
    if not records or index.metric_by_block(variant, load, ENERGY):
        return None
    if not any(gpu_of(record) for record in records):
        return NO_TELEMETRY
    return _told(records, "energy_j") or "no output token in the window"


def _power(index: CellIndex, variant: str, load: str) -> Figure:
    """Watts of the engine's GPUs together: the sum of their medians in each window, of these the median."""
    records = [cell.record for cell in index.load(variant, load).values()]
    told = [gpu["gpus"] for record in records if (gpu := gpu_of(record))]
    sums = [sum(one["power_w"]["median"] for one in gpus) for gpus in told if all(one["power_w"] for one in gpus)]
    if sums:
        return Figure(value=float(statistics.median(sums)))
    if not told:
        return Figure(reason=NO_TELEMETRY if records else index.missing(variant, load))
    return Figure(reason=_told(records, "power_w") or "no look fell into the window")


def _told(records: Sequence[Mapping[str, Any]], what: str) -> str | None:
    return next((why for record in records if (why := missing_of(record, what))), None)


def energy_grid(summary: Summary) -> Grid:
    """Energy per output token and power at every load, then the ratio over all loads."""
    columns = [Column("load", flexible=True), VARIANT, Column("energy/token", True), Column("GPU power", True),
               Column("ratio", True), Column("95% CI"), WORDS]  # fmt: skip
    rows = []
    last = ""
    for row in summary.energy:
        head = [Item("" if row.load == last else row.load), Item(row.variant)]
        last = row.load
        measured = [BLANK, BLANK] if row.load == ALL_LOADS else [
            _figure(row.joules_per_token, ENERGY), _figure(row.power_w, "power_w")]
        if row.variant == summary.experiment.baseline:
            blocks = f"{row.blocks} block{'' if row.blocks == 1 else 's'}" if row.blocks else ""
            rows.append([*head, *measured, BLANK, BLANK, Item(blocks, tone="quiet")])
            continue
        word = Item(missing=row.reason or "not measured") if row.word is None else Item(row.word, blocks_needed(row),
                                                                                          TONE[row.word])  # fmt: skip
        ratio = Item(missing=row.ratio.reason) if row.ratio.value is None else Item(figures.ratio(row.ratio))
        rows.append([*head, *measured, ratio, Item(figures.interval(row.ratio, join="-"), tone="quiet"), word])
    return Grid(columns, rows)


def _figure(figure: Figure, key: str) -> Item:
    return Item(missing=figure.reason) if figure.value is None else Item(figures.value(figure, key))


def energy_lines(summary: Summary) -> list[str]:
    """For a terminal: each variant's ratio in one line, over all loads."""
    rows = [row for row in summary.energy if row.variant != summary.experiment.baseline]
    together = [row for row in rows if row.load == ALL_LOADS] or rows
    lines = []
    for row in together:
        if row.ratio.value is None or row.word is None:
            lines.append(f"{row.variant}: n/a ({row.reason or row.ratio.reason})")
        else:
            band = figures.interval(row.ratio, join="-")
            lines.append(f"{row.variant}: {figures.ratio(row.ratio)}{f' ({band})' if band else ''} at {row.load}, "
                         f"{row.word}")
    return lines
