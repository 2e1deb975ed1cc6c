"""Tables about damage itself, short: where distributions moved, the worst token of each, and what is written."""

import json
from collections.abc import Iterable, Iterator

from quantcheck.report import figures
from quantcheck.report.cells import short_names
from quantcheck.report.grids import Column, Grid, Item
from quantcheck.report.summary import ChangedRow, ContinuationRow, DamageRow, Figure, Summary, WorstTokenRow

__all__ = ["continuation_lines", "damage_sections"]

KL = "kl_divergence"
SHOWN = 60
"""Characters of a text that fit into a table."""

DAMAGE_WORDS = (
    "The part with the largest mean KL of each kind; all are under `damage` in summary.json. Confidence is the "
    "probability of the baseline's likeliest token. Exploratory: parts were not planned for, no verdict rests on them."
)
WORST_WORDS = (
    "The scored token with the largest KL; the 20 worst of each are under `worst_tokens`. In brackets is the "
    "probability that the model gave its own likeliest token."
)
WRITTEN_WORDS = (
    "Greedy continuations of the same prompts. `same to the end` is the share of prompts whose continuations are "
    "equal token by token, `noise floor` the same for the baseline against itself; the first other token is the median "
    "over the prompts that changed, counted from 1."
)
CHANGED_WORDS = (
    "The one with the least in common of each variant, from where the two part; ten of each, whole, are under "
    "`most_changed`."
)


def damage_sections(summary: Summary) -> Iterator[tuple[str, str, Grid]]:
    """(heading, explanation, table) of what there is."""
    if summary.damage:
        yield "### Where the distribution moved", DAMAGE_WORDS, _damage(summary)
    if summary.worst_tokens:
        yield "### Worst tokens", WORST_WORDS, _worst(summary)
    if summary.continuations:
        yield "## Outputs side by side", WRITTEN_WORDS, _continuations(summary)
    if summary.most_changed:
        yield "### Most changed", CHANGED_WORDS, _changed(summary)


def _names(rows: Iterable[DamageRow | WorstTokenRow]) -> dict[str, str]:
    return short_names(dict.fromkeys(row.corpus for row in rows))


def _damage(summary: Summary) -> Grid:
    columns = [Column("variant", flexible=True), Column("corpus", flexible=True), Column("by position"),
               Column("by confidence"), Column("median document", True), Column("90% of documents", True),
               Column("worst document")]  # fmt: skip
    names = _names(summary.damage)
    pairs = dict.fromkeys((row.variant, row.corpus) for row in summary.damage)
    rows = []
    for variant, corpus in pairs:
        own = [row for row in summary.damage if (row.variant, row.corpus) == (variant, corpus)]
        rows.append([
            Item(variant), Item(names[corpus]), _largest(own, "position"), _largest(own, "confidence"),
            _quantile(own, 0.5), _quantile(own, 0.9), _largest(own, "worst document"),
        ])  # fmt: skip
    return Grid(columns, rows)


def _largest(rows: list[DamageRow], by: str) -> Item:
    own = [row for row in rows if row.by == by]
    if not own:
        return Item(missing="not stored")
    worst = max(own, key=lambda row: row.kl_divergence.value or 0.0)
    share = "" if worst.kl_share is None else f", {worst.kl_share:.0%} of all"
    return Item(f"{_kl(worst.kl_divergence)}", f"{worst.part}{share}")


def _quantile(rows: list[DamageRow], quantile: float) -> Item:
    own = [row for row in rows if row.by == "document quantile" and row.low == quantile]
    return Item(_kl(own[0].kl_divergence)) if own else Item(missing="one document")


def _kl(figure: Figure) -> str:
    return figures.value(figure, KL, unit=False)


def _worst(summary: Summary) -> Grid:
    columns = [Column("variant", flexible=True), Column("corpus", flexible=True), Column("KL", True),
               Column("document", True), Column("token", True), Column("text before"), Column("is"),
               Column("baseline"), Column("variant's")]  # fmt: skip
    names = _names(summary.worst_tokens)
    return Grid(columns, [
        [
            Item(row.variant), Item(names[row.corpus]), Item(f"{row.kl_divergence:.2f}"), Item(str(row.document)),
            Item(str(row.position)), Item(_end(row.before)), Item(_quoted(row.token)),
            Item(_quoted(row.baseline_likeliest), _p(row.baseline_likeliest_p)),
            Item(_quoted(row.variant_likeliest), _p(row.variant_likeliest_p)),
        ]
        for row in summary.worst_tokens if row.rank == 1
    ])  # fmt: skip


def _continuations(summary: Summary) -> Grid:
    columns = [Column("variant", flexible=True), Column("prompts", True), Column("same to the end", True),
               Column("noise floor", True), Column("first other token", True), Column("same before it", True),
               Column("length", True)]  # fmt: skip
    rows = []
    for row in summary.continuations:
        first = row.first_divergence
        rows.append([
            Item(row.variant), Item(f"{row.prompts:,}"), _share(row.agreement), _share(row.noise),
            Item(missing=first.reason) if first.value is None else Item(f"{first.value + 1:g}", _ends(first, "g", 1)),
            _share(row.same_share), _ratio(row.length_ratio),
        ])  # fmt: skip
    return Grid(columns, rows)


def _share(figure: Figure) -> Item:
    if figure.value is None:
        return Item(missing=figure.reason)
    return Item(f"{figure.value:.0%}", _ends(figure, ".0%"))


def _ratio(figure: Figure) -> Item:
    if figure.value is None:
        return Item(missing=figure.reason)
    return Item(figures.ratio(figure), figures.interval(figure))


def _ends(figure: Figure, form: str, more: float = 0) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{figure.low + more:{form}} to {figure.high + more:{form}}"


def continuation_lines(summary: Summary) -> list[str]:
    """For a terminal: how many continuations of each variant are the baseline's, and where the others part from it."""
    lines = [f"{row.variant}: {_parting(row)}" for row in summary.continuations]
    floor = next((row.noise.value for row in summary.continuations if row.noise.value is not None), None)
    return lines if floor is None else [*lines, f"noise floor, {summary.experiment.baseline} again: {floor:.0%}"]


def _parting(row: ContinuationRow) -> str:
    share, first = row.agreement, row.first_divergence
    if share.value is None:
        return f"n/a ({share.reason})"
    text = f"{share.value:.0%} of {row.prompts:,} ({_ends(share, '.0%')}) the same to the end"
    if first.value is None:
        return text
    band = _ends(first, "g", 1)
    return f"{text}; the others part at token {first.value + 1:g} (median{f', {band}' if band else ''})"


def _changed(summary: Summary) -> Grid:
    columns = [Column("variant", flexible=True), Column("prompt", flexible=True), Column("token", True),
               Column("end of the prompt"), Column("baseline"), Column("variant's")]  # fmt: skip
    return Grid(columns, [_changed_fields(row) for row in summary.most_changed if row.rank == 1])


def _changed_fields(row: ChangedRow) -> list[Item]:
    return [Item(row.variant), Item(row.id), Item(str(row.first_divergence + 1)), Item(_end(row.prompt)),
            Item(_quoted(row.baseline_text[row.character :])), Item(_quoted(row.variant_text[row.character :]))]


def _p(p: float) -> str:
    return f"{p:.2f}"


def _end(text: str) -> str:
    return _quoted(text[-SHOWN:])


def _quoted(text: str) -> str:
    """A text with its blanks and ends to be seen."""
    cut = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return json.dumps(cut, ensure_ascii=False)
