"""A comparison of two runs as text: on a terminal the sentences and the main tables, in Markdown all of it."""

from collections.abc import Iterator, Sequence
from typing import TextIO

from quantcheck.metrics import metric
from quantcheck.report import figures, terminal
from quantcheck.report import markdown_text as markdown
from quantcheck.report.cells import short_names
from quantcheck.report.comparison import RunComparison, RunSpeedRow, VariantComparison
from quantcheck.report.grids import RATIO_DIGITS, TONES, Column, Grid, Item
from quantcheck.report.speed import THROUGHPUT
from quantcheck.report.summary import Figure

__all__ = ["as_markdown", "as_text"]

VARIANT = Column("variant", flexible=True)
WORD = Column("verdict", flexible=True)


def as_text(comparison: RunComparison, stream: TextIO, *, width: int | None = None) -> str:
    """For a terminal, or whatever `stream` is; see `terminal.render`."""
    lines = [(_head(comparison), "dim"), ("", "")]
    lines += [(one.sentence, "bold") for one in comparison.variants]
    if comparison.differences:
        lines += [("", ""), *((f"! {line}", "yellow") for line in _different(comparison))]
    lines += [(f"note: {note}", "dim") for note in _notes(comparison)]
    # With several variants the single loads are for the page and the JSON.
    speed = _speed_grid(comparison, THROUGHPUT, only_total=len(comparison.variants) > 1)
    read = _speed_grid(comparison, "input_throughput")
    parts = [("Output throughput", speed), ("Input throughput", read), ("Tasks", _task_grid(comparison)),
             ("Perplexity", _corpus_grid(comparison))]
    return terminal.render_parts(lines, parts, stream, width=width)


def as_markdown(comparison: RunComparison) -> str:
    """GitHub-flavoured Markdown, ending with a newline."""
    a, b = comparison.a, comparison.b
    parts = [
        f"# {markdown.escape(a.folder)} and {markdown.escape(b.folder)}",
        markdown.bullets([one.sentence for one in comparison.variants]),
        markdown.pairs({f"{side}.{key}": str(value) for side, run in (("A", a), ("B", b))
                        for key, value in run.model_dump().items()}),
        "## What differs beside the variants",
        markdown.bullets(list(_different(comparison))) or "Nothing that is recorded.",
        markdown.bullets(list(_notes(comparison))),
        *_section("## Tasks", _task_grid(comparison)),
        *_section("## Perplexity", _corpus_grid(comparison)),
    ]
    for key in dict.fromkeys(row.metric for one in comparison.variants for row in one.loads):
        parts += _section(f"## {metric(key).label}", _speed_grid(comparison, key))
    parts.append("A is taken as the baseline, B as the variant; intervals are 95%. Speed is not paired between runs: "
                 "`moved` is what the runs' common baseline shows; a difference that is none without it is no finding.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, grid: Grid) -> list[str]:
    return [title, markdown.table(grid)] if grid.rows else []


def _head(comparison: RunComparison) -> str:
    a, b = comparison.a, comparison.b
    return f"A: {a.folder} ({a.model} on {a.engine})   B: {b.folder} ({b.model} on {b.engine})"


def _different(comparison: RunComparison) -> Iterator[str]:
    for one in comparison.differences:
        concerns = "nothing" if one.concerns == "all" else f"no {one.concerns}"
        yield f"{one.what} differs, so {concerns} is comparable: A {one.a}, B {one.b}"


def _notes(comparison: RunComparison) -> Iterator[str]:
    yield from comparison.notes
    same = [one.a for one in comparison.variants if one.same_file]
    if same:
        yield f"the same file in both runs: {', '.join(same)}; what differs there is no property of it"


def _item(figure: Figure, text: str, detail: str = "") -> Item:
    return Item(missing=figure.reason) if figure.value is None else Item(text, detail)


def _word(word: str | None, reason: str | None, more: int | None = None, unit: str = "") -> Item:
    if word is None:
        return Item(missing=reason or "not measured")
    return Item(word, f"~{figures.about(more)} more {unit}" if more else "", TONES[word])


def _name(one: VariantComparison) -> str:
    return one.b if one.a == one.b else f"{one.b} / {one.a}"


def _task_grid(comparison: RunComparison) -> Grid:
    columns = [Column("task", flexible=True), VARIANT, Column("A", True), Column("B", True), Column("change", True),
               Column("95% CI"), Column("lost", True), Column("gained", True), WORD]  # fmt: skip
    names = short_names(dict.fromkeys(row.task for one in comparison.variants for row in one.tasks))
    rows: list[Sequence[Item]] = []
    for task, name in names.items():
        own = [(one, row) for one in comparison.variants for row in one.tasks if row.task == task]
        for position, (one, row) in enumerate(own):
            rows.append([
                Item(name if position == 0 else ""), Item(_name(one)),
                _item(row.baseline_accuracy, figures.percent(row.baseline_accuracy)),
                _item(row.accuracy, figures.percent(row.accuracy)),
                _item(row.delta, figures.points(row.delta)), Item(figures.points_interval(row.delta), tone="quiet"),
                *(Item("" if row.delta.value is None else "unpaired" if flips is None else f"{flips:,}")
                  for flips in (row.lost, row.gained)),
                _word(row.word, row.reason, row.more_items, "items"),
            ])  # fmt: skip
    return Grid(columns, rows)


def _corpus_grid(comparison: RunComparison) -> Grid:
    columns = [Column("corpus", flexible=True), VARIANT, Column("PPL of B", True), Column("ratio", True),
               Column("95% CI"), WORD]  # fmt: skip
    names = short_names(dict.fromkeys(row.corpus for one in comparison.variants for row in one.corpora))
    rows: list[Sequence[Item]] = []
    for corpus, name in names.items():
        own = [(one, row) for one in comparison.variants for row in one.corpora if row.corpus == corpus]
        for position, (one, row) in enumerate(own):
            rows.append([
                Item(name if position == 0 else ""), Item(_name(one)),
                _item(row.perplexity, figures.value(row.perplexity, "perplexity")),
                _item(row.ratio, figures.ratio(row.ratio, RATIO_DIGITS)),
                Item(figures.interval(row.ratio, RATIO_DIGITS, "-"), tone="quiet"),
                _word(row.word, row.reason, row.more_units, f"{row.unit or 'document'}s"),
            ])  # fmt: skip
    return Grid(columns, rows)


def _speed_grid(comparison: RunComparison, key: str, *, only_total: bool = False) -> Grid:
    columns = [Column("load", flexible=True), VARIANT, Column("A", True), Column("B", True), Column("ratio", True),
               Column("95% CI"), Column("moved", True), WORD]  # fmt: skip
    found: dict[str, list[tuple[VariantComparison, RunSpeedRow]]] = {}
    for one in comparison.variants:
        total = [one.speed] if one.speed is not None and key == one.speed.metric else []
        single = [] if only_total else [row for row in one.loads if row.metric == key]
        for row in [*single, *total]:
            found.setdefault(row.load, []).append((one, row))
    rows: list[Sequence[Item]] = []
    for load, own in found.items():
        for position, (one, row) in enumerate(own):
            rows.append([
                Item(load if position == 0 else ""), Item(_name(one)),
                *(_item(side, figures.value(side, key, unit=False)) for side in (row.a, row.b)),
                _item(row.ratio, figures.ratio(row.ratio)), Item(figures.interval(row.ratio, join="-"), tone="quiet"),
                _item(row.moved, figures.ratio(row.moved)), _word(row.word, row.reason, row.more_blocks, "blocks"),
            ])  # fmt: skip
    return Grid(columns, rows)
