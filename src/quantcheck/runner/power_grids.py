"""What an experiment can show, as tables."""

from collections.abc import Iterator

from quantcheck.report import figures
from quantcheck.report.cells import short_names
from quantcheck.report.grids import Column, Grid, Item
from quantcheck.runner.power import CorpusPower, LoadPower, Power, TaskPower
from quantcheck.stats.speed import MOST_BLOCKS

__all__ = ["power_grids", "power_notes"]

BASIS = Column("from", flexible=True)


def power_grids(power: Power) -> list[tuple[str, Grid]]:
    """A titled table each for tasks, texts and speed."""
    return [
        ("Tasks: what the items can show", _tasks(power.tasks)),
        ("Texts: what the units can show", _corpora(power.corpora)),
        ("Speed: what the blocks can show (output throughput)", _loads(power.loads)),
    ]


def power_notes(power: Power) -> Iterator[str]:
    """How to read the tables."""
    if power.tasks:
        many = f" over all {len(power.tasks)} tasks" if len(power.tasks) > 1 else ""
        yield ("detectable: the smallest change found with 80% power. needed: what a variant without any loss takes "
               f"to be called safe, at 5%{many}, with 80% power.")
        if any(row.variant is None for row in power.tasks):
            yield "assumed: no run has measured how often answers flip there; 0.1 is a stated guess, not a figure."
    if power.loads:
        yield ("needed blocks: until two equal variants are told to be within the margin, with 80% power, from the "
               "upper 80% limit of the spread that earlier runs showed.")


def _enough(needed: int, planned: int, text: str) -> Item:
    return Item(text, tone="open" if needed > planned else "good")


def _tasks(rows: tuple[TaskPower, ...]) -> Grid:
    early = any(row.early is not None for row in rows)
    columns = [Column("task", flexible=True), Column("items", True), Column("flips", True), BASIS,
               Column("detectable", True), Column("margin", True), Column("needed", True)]  # fmt: skip
    columns += [Column("early stop", True)] if early else []
    names = short_names(row.task for row in rows)
    return Grid(columns, [
        [Item(names[row.task]), Item(f"{row.items:,}"), Item(f"{row.psi:.2%}"),
         Item(row.basis if row.variant is None else f"{row.basis}, {row.variant}"),
         Item(f"{row.detectable * 100:.2g} pp"), Item(f"{row.margin * 100:g} pp"),
         _enough(row.needed, row.items, figures.about(row.needed)),
         *([Item("" if row.early is None else f"~{figures.about(row.early)}")] if early else [])]
        for row in rows
    ])  # fmt: skip


def _corpora(rows: tuple[CorpusPower, ...]) -> Grid:
    columns = [Column("text", flexible=True), Column("documents", True), Column("tokens", True), Column("units", True),
               BASIS, Column("detectable", True), Column("margin", True), Column("needed", True)]  # fmt: skip
    names = short_names(row.corpus for row in rows)
    return Grid(columns, [
        [Item(names[row.corpus]), Item(f"{row.documents:,}"), Item("all" if row.tokens is None else f"{row.tokens:,}"),
         *([Item(missing=row.basis)] * 1 if row.units is None else [Item(f"{row.units:,} {row.unit}s")]),
         Item("" if row.units is None else row.basis),
         Item(missing=row.basis) if row.detectable is None else Item(f"{row.detectable:.4f}x"),
         Item(f"{1 + row.margin:g}x"),
         Item(missing=row.basis) if row.needed is None or row.units is None
         else _enough(row.needed, row.units, figures.about(row.needed))]
        for row in rows
    ])  # fmt: skip


def _loads(rows: tuple[LoadPower, ...]) -> Grid:
    columns = [Column("load", flexible=True), Column("blocks", True), Column("spread", True), BASIS,
               Column("detectable", True), Column("margin", True), Column("needed", True)]  # fmt: skip
    return Grid(columns, [
        [Item(row.load), Item(f"{row.blocks}"),
         Item(missing=row.basis) if row.spread is None else Item(f"{row.spread:.2%}"),
         Item("" if row.spread is None else row.basis),
         Item(missing=row.basis if row.spread is None else "1 block has no interval") if row.detectable is None
         else Item(f"{row.detectable:.3g}x"),
         Item(f"{row.margin:.0%}"), _blocks(row)]
        for row in rows
    ])  # fmt: skip


def _blocks(row: LoadPower) -> Item:
    if row.spread is None:
        return Item(missing=row.basis)
    if row.needed is None:
        return Item(missing=f"more than {MOST_BLOCKS:,} blocks: widen policy.margin.throughput_ratio")
    return _enough(row.needed, row.blocks, figures.about(row.needed))
