"""The tables of a report, free of any output format: terminal and Markdown render the same grids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from quantcheck.metrics import metric
from quantcheck.report import figures
from quantcheck.report.cells import short_names
from quantcheck.report.speed import THROUGHPUT
from quantcheck.report.summary import (
    CorpusRow,
    EnergyRow,
    Figure,
    QualitySummary,
    SpeedRow,
    SpeedSummary,
    Summary,
    TaskRow,
    VariantRow,
)

__all__ = [
    "RATIO_DIGITS",
    "TONES",
    "Column",
    "Grid",
    "Item",
    "blocks_needed",
    "corpus_grid",
    "memory_grid",
    "noise_grid",
    "perplexity_text",
    "speed_grid",
    "stopped_text",
    "task_grid",
    "verdict_grid",
]

Tone = Literal["", "good", "bad", "open", "quiet"]

TONES: dict[str | None, Tone] = {
    "safe": "good",
    "faster": "good",
    "harmed": "bad",
    "slower": "bad",
    "inconclusive": "open",
    "not comparable": "open",
    "no detectable difference": "quiet",
}

RATIO_DIGITS = 4
"""Most decimals of a perplexity ratio; its paired interval supports more than a speed ratio's."""


PPL_DIGITS = metric("perplexity").digits


@dataclass(frozen=True, slots=True)
class Item:
    """One field: what it says, a detail beside it (an interval), how it reads, and why it is missing if it is."""

    text: str = ""
    detail: str = ""
    tone: Tone = ""
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """`right`: numbers, aligned right; `flexible`: may be wrapped where room is short."""

    name: str
    right: bool = False
    flexible: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Item]]


BLANK = Item()
VARIANT = Column("variant", flexible=True)
WORDS = Column("verdict", flexible=True)
LOOKED = Item(missing="looked at as answers came")
NOISE = Column("noise floor", True)
QUIET_BASELINE = Item("baseline", tone="quiet")
SAME = Item("1x", tone="quiet")


def _item(figure: Figure, text: str, detail: str = "") -> Item:
    if figure.value is None:
        return Item(missing=figure.reason)
    return Item(text, detail)


def _value(figure: Figure, key: str, *, unit: bool = True) -> Item:
    return _item(figure, figures.value(figure, key, unit=unit))


def _word(word: str | None, reason: str | None, needs: str = "") -> Item:
    if word is None:
        return Item(missing=reason or "not measured")
    return Item(word, needs, TONES[word])


def _needs(count: int | None, unit: str) -> str:
    if not count:
        return ""
    return f"~{figures.about(count)} more {unit}{'' if count == 1 else 's'}"


def blocks_needed(row: SpeedRow | SpeedSummary | EnergyRow) -> str:
    """What would help a word of speed or energy: `~4 more blocks`; from one block no number can be planned."""
    if row.ratio.value is not None and row.ratio.low is None:
        return "needs 2 blocks or more"
    return _needs(row.more_blocks, "block")


def verdict_grid(summary: Summary) -> Grid:
    """One line per variant, baseline first."""
    columns = [VARIANT, Column("size"), Column("accuracy"), WORDS, Column("perplexity"),
               Column("speed"), WORDS]  # fmt: skip
    rows = []
    for row in summary.variants:
        if row.baseline:
            accuracy = _item(row.quality.accuracy, figures.percent(row.quality.accuracy))
            rows.append([Item(row.name), _value(row.size.bytes, "weights_bytes"), accuracy, QUIET_BASELINE, SAME,
                         SAME, QUIET_BASELINE])  # fmt: skip
            continue
        ppl, speed = row.perplexity_ratio, row.speed
        rows.append([
            Item(row.name),
            _item(row.size.ratio, figures.ratio(row.size.ratio), figures.value(row.size.bytes, "weights_bytes")),
            _accuracy_change(row),
            _quality_word(row.quality),
            _item(ppl, figures.ratio(ppl, RATIO_DIGITS)),
            _item(speed.ratio, figures.ratio(speed.ratio), figures.interval(speed.ratio, join="-")),
            _word(speed.word, speed.reason, blocks_needed(speed)),
        ])  # fmt: skip
    return Grid(columns, rows)


def _accuracy_change(row: VariantRow) -> Item:
    delta = row.quality.delta
    return _item(delta, figures.points(delta), figures.points_interval(delta))


def _quality_word(quality: QualitySummary) -> Item:
    needs = ""
    if quality.word == "inconclusive":
        needs = _needs(quality.more_items, "item" if quality.basis == "tasks" else "document")
    return _word(quality.word, quality.reason, needs)


def task_grid(summary: Summary) -> Grid:
    """Every task: the baseline's accuracy, then each variant with its flips."""
    columns = [Column("task", flexible=True), VARIANT, Column("accuracy", True), Column("change", True),
               Column("95% CI"), NOISE, Column("lost", True), Column("gained", True), Column("p", True),
               WORDS]  # fmt: skip
    names = short_names(dict.fromkeys(row.task for row in summary.quality))
    rows: list[list[Item]] = []
    for task, name in names.items():
        own = [row for row in summary.quality if row.task == task]
        rows.append(_baseline_task(name, summary.experiment.baseline, own))
        rows += [_task_row(row) for row in own]
    return Grid(columns, rows)


def _baseline_task(name: str, baseline: str, own: Sequence[TaskRow]) -> list[Item]:
    # Tasks that ended early hold fewer items: the row with the most of them speaks for the baseline.
    known = [row for row in own if row.baseline_accuracy.value is not None]
    accuracy = max(known or own, key=lambda row: row.n).baseline_accuracy
    items = max(row.n for row in own)
    note = Item(f"{items:,} items" if items else "", tone="quiet")
    return [Item(name), Item(baseline), _item(accuracy, figures.percent(accuracy)), *[BLANK] * 6, note]


def stopped_text(row: TaskRow) -> str:
    """`256 of 1,000 items`, of a task that ended early; empty for others."""
    if row.stopped is None or row.stopped.items == row.stopped.of:
        return ""
    return f"{row.stopped.items:,} of {row.stopped.of:,} items"


def _task_row(row: TaskRow) -> list[Item]:
    items = [BLANK, Item(row.variant), _item(row.accuracy, figures.percent(row.accuracy))]
    word = _word(row.word, row.reason, _needs(row.more_items, "item") or stopped_text(row))
    if row.delta.value is None:
        why = Item(missing=row.delta.reason)
        return [*items, why, *[BLANK] * 5, word]
    return [*items, Item(figures.points(row.delta)), Item(figures.points_interval(row.delta), tone="quiet"),
            _item(row.noise, figures.points(row.noise)), Item(f"{row.lost:,}"), Item(f"{row.gained:,}"),
            Item(figures.p_value(row.p)) if row.stopped is None else LOOKED, word]  # fmt: skip


def corpus_grid(summary: Summary) -> Grid:
    """Perplexity, its ratio, KL divergence and top-1 agreement by corpus."""
    columns = [Column("corpus", flexible=True), VARIANT, Column("PPL", True), Column("ratio", True),
               Column("95% CI"), NOISE, Column("KL", True), Column("top-1", True), WORDS]  # fmt: skip
    names = short_names(dict.fromkeys(row.corpus for row in summary.corpora))
    rows = []
    for corpus, name in names.items():
        own = [row for row in summary.corpora if row.corpus == corpus]
        own.sort(key=lambda row: row.variant != summary.experiment.baseline)
        for position, row in enumerate(own):
            baseline = row.variant == summary.experiment.baseline
            rows.append(_corpus_row(row, name if position == 0 else "", baseline))
    return Grid(columns, rows)


def _corpus_row(row: CorpusRow, name: str, baseline: bool) -> list[Item]:
    items = [Item(name), Item(row.variant), _item(row.perplexity, perplexity_text(row.perplexity))]
    if baseline:
        what = f"{row.units:,} {row.unit}s" if row.unit else ""
        return [*items, *[BLANK] * 5, Item(what, tone="quiet")]
    return [
        *items,
        _item(row.ratio, figures.ratio(row.ratio, RATIO_DIGITS)),
        Item(figures.interval(row.ratio, RATIO_DIGITS, "-"), tone="quiet"),
        _item(row.noise, figures.ratio(row.noise, RATIO_DIGITS)),
        _value(row.kl_divergence, "kl_divergence", unit=False),
        _value(row.top1_agreement, "top1_agreement"),
        _word(row.word, row.reason, _needs(row.more_units, row.unit or "document")),
    ]


def perplexity_text(figure: Figure) -> str:
    """With one digit more than its own interval supports: how hard the text is cancels between variants."""
    digits = min(figures.shared_decimals([figure], "perplexity") + 1, PPL_DIGITS)
    return figures.value(figure, "perplexity", digits=digits)


def speed_grid(summary: Summary, key: str = THROUGHPUT) -> Grid:
    """One metric at every load."""
    columns = [Column("load", flexible=True), VARIANT, Column(metric(key).label, True),
               Column("ratio", True), Column("95% CI"), WORDS]  # fmt: skip
    rows = []
    for load in dict.fromkeys(row.load for row in summary.speed):
        own = [row for row in summary.speed if row.load == load and row.metric == key]
        digits = figures.shared_decimals([row.value for row in own], key)
        for position, row in enumerate(own):
            value = _item(row.value, figures.value(row.value, key, digits=digits))
            head = [Item(load if position == 0 else ""), Item(row.variant), value]
            rows.append([*head, *_speed_fields(row, row.variant == summary.experiment.baseline)])
    return Grid(columns, rows)


def _speed_fields(row: SpeedRow, baseline: bool) -> list[Item]:
    if baseline:
        return [BLANK, BLANK, Item(f"{row.blocks} block{'' if row.blocks == 1 else 's'}", tone="quiet")]
    return [
        _item(row.ratio, figures.ratio(row.ratio)),
        Item(figures.interval(row.ratio, join="-"), tone="quiet"),
        _word(row.word, row.reason, blocks_needed(row)),
    ]


def memory_grid(summary: Summary) -> Grid:
    """What each variant takes, each figure named for what it is."""
    columns = [VARIANT, Column("weights", True), Column("bits/weight", True), Column("resident", True),
               Column("proportional", True), Column("KV cache", True), Column("ready in", True)]  # fmt: skip
    own = any(row.allocated_bytes.value is not None for row in summary.memory)
    if own:
        columns += [Column("after load", True), Column("peak", True)]
    bits = {row.name: row.size.bits_per_weight for row in summary.variants}
    rows = [
        [
            Item(row.variant),
            _value(row.weights_bytes, "weights_bytes"),
            _value(bits[row.variant], "bits_per_weight", unit=False),
            _value(row.rss_bytes, "rss_bytes"),
            _value(row.pss_bytes, "pss_bytes"),
            _value(row.kv_cache_bytes, "kv_cache_bytes"),
            _value(row.ready_s, "ready_s"),
            *([_value(row.allocated_bytes, "allocated_bytes"), _value(row.peak_bytes, "peak_bytes")] if own else []),
        ]
        for row in summary.memory
    ]
    return Grid(columns, rows)


def noise_grid(summary: Summary) -> Grid:
    """The baseline against itself."""
    columns = [Column("subject"), Column("difference", True), Column("95% CI"), Column("flips", True),
               Column("KL, nats", True), Column("from", True)]  # fmt: skip
    names = short_names(dict.fromkeys(r.subject for r in summary.noise_floor))
    units = {"speed": "block", "task": "item", "perplexity": "token"}
    rows = []
    for row in summary.noise_floor:
        if row.kind == "task":
            effect = _item(row.effect, figures.points(row.effect))
            band, flips = figures.points_interval(row.effect), Item(f"{(row.lost or 0) + (row.gained or 0):,}")
        else:
            most = 2 if row.kind == "speed" else RATIO_DIGITS
            effect = _item(row.effect, figures.ratio(row.effect, most))
            band, flips = figures.interval(row.effect, most, "-"), BLANK
        divergence = BLANK if row.kl_divergence is None else _value(row.kl_divergence, "kl_divergence", unit=False)
        plural = "" if row.n == 1 else "s"
        amount = Item(f"{row.n:,} {units[row.kind]}{plural}" if row.n else "", tone="quiet")
        rows.append([Item(names[row.subject]), effect, Item(band, tone="quiet"),
                     BLANK if row.effect.value is None else flips, divergence, amount])  # fmt: skip
    return Grid(columns, rows)
