"""The compact tables of a terminal: a line per subject, a column per variant, the word above its figures."""

from collections.abc import Sequence

from quantcheck.report import figures
from quantcheck.report.cells import short_names
from quantcheck.report.cost_grids import TONE, usd
from quantcheck.report.grids import RATIO_DIGITS, TONES, Column, Grid, Item, perplexity_text
from quantcheck.report.speed import THROUGHPUT
from quantcheck.report.summary import CorpusRow, Figure, LoadCostRow, SpeedRow, Summary, TaskRow

__all__ = ["corpus_matrix", "load_cost_matrix", "speed_matrix", "task_matrix"]


def task_matrix(summary: Summary, variants: Sequence[str]) -> Grid:
    """Verdict, change of accuracy and flips (-lost +gained) of each task."""
    names = short_names(dict.fromkeys(row.task for row in summary.quality))
    rows = []
    for task, name in names.items():
        own = {row.variant: row for row in summary.quality if row.task == task}
        known = [row for row in own.values() if row.baseline_accuracy.value is not None]
        first = max(known or own.values(), key=lambda row: row.n)
        items = max(row.n for row in own.values())
        base = _base(first.baseline_accuracy, figures.percent(first.baseline_accuracy), f"{items:,} items")
        rows.append([Item(name), base, *(_task(own[v]) for v in variants)])
    return _grid("task", summary, variants, rows)


def _task(row: TaskRow) -> Item:
    if row.word is None or row.delta.value is None:
        return Item(missing=row.reason or row.delta.reason)
    detail = f"{figures.points(row.delta)}, -{row.lost:,} +{row.gained:,}"
    if row.stopped is not None and row.stopped.items < row.stopped.of:
        detail += f", {row.stopped.items:,} items"
    return Item(row.word, detail, TONES[row.word])


def corpus_matrix(summary: Summary, variants: Sequence[str]) -> Grid:
    """Verdict, perplexity ratio and KL divergence on each corpus."""
    names = short_names(dict.fromkeys(row.corpus for row in summary.corpora))
    rows = []
    for corpus, name in names.items():
        own = {row.variant: row for row in summary.corpora if row.corpus == corpus}
        first = own[summary.experiment.baseline]
        base = _base(first.perplexity, perplexity_text(first.perplexity), f"{first.units:,} {first.unit}s")
        rows.append([Item(name), base, *(_corpus(own[v]) for v in variants)])
    return _grid("corpus", summary, variants, rows)


def _corpus(row: CorpusRow) -> Item:
    if row.word is None or row.ratio.value is None:
        return Item(missing=row.reason or row.ratio.reason)
    detail = figures.ratio(row.ratio, RATIO_DIGITS)
    if row.kl_divergence.value is not None:
        detail += f", {figures.value(row.kl_divergence, 'kl_divergence', unit=False)}"
    return Item(row.word, detail, TONES[row.word])


def speed_matrix(summary: Summary, variants: Sequence[str]) -> Grid:
    """Verdict and output throughput ratio with its interval at each load."""
    rows = []
    for load in dict.fromkeys(row.load for row in summary.speed):
        own = {row.variant: row for row in summary.speed if row.load == load and row.metric == THROUGHPUT}
        first = own[summary.experiment.baseline]
        blocks = f"{first.blocks} block{'' if first.blocks == 1 else 's'}"
        base = _base(first.value, figures.value(first.value, THROUGHPUT), blocks)
        rows.append([Item(load), base, *(_speed(own[v]) for v in variants)])
    return _grid("load", summary, variants, rows)


def _speed(row: SpeedRow) -> Item:
    if row.word is None or row.ratio.value is None:
        return Item(missing=row.reason or row.ratio.reason)
    return Item(row.word, _ratio(row.ratio), TONES[row.word])


def load_cost_matrix(summary: Summary, variants: Sequence[str]) -> Grid:
    """What output tokens cost at each load, and the ratio with its interval."""
    rows = []
    for load in dict.fromkeys(row.load for row in summary.load_costs):
        own = {row.variant: row for row in summary.load_costs if row.load == load}
        rows.append([Item(load), *(_cost(own[name]) for name in (summary.experiment.baseline, *variants))])
    return _grid("load", summary, variants, rows)


def _cost(row: LoadCostRow) -> Item:
    if row.word is None or row.ratio.value is None:
        return _base(row.output, usd(row.output, unit=False), "")
    return Item(usd(row.output, unit=False), _ratio(row.ratio), TONE.get(row.word, "quiet"))


def _ratio(ratio: Figure) -> str:
    band = figures.interval(ratio, join="-")
    return f"{figures.ratio(ratio)}, {band}" if band else figures.ratio(ratio)


def _base(figure: Figure, text: str, detail: str) -> Item:
    return Item(missing=figure.reason) if figure.value is None else Item(text, detail)


def _grid(subject: str, summary: Summary, variants: Sequence[str], rows: list[list[Item]]) -> Grid:
    heads = [Column(subject, flexible=True), Column(summary.experiment.baseline)]
    return Grid([*heads, *(Column(v, flexible=True) for v in variants)], rows)
