"""A judge's verdicts as a table."""

from quantcheck.judge.score import JudgeReport
from quantcheck.report.grids import TONES, Column, Grid, Item
from quantcheck.report.row import Figure

__all__ = ["judged_grid"]

def judged_grid(report: JudgeReport) -> Grid:
    """A row a variant; its preference is the share of pairs it wins minus the share that it loses."""
    columns = [Column("variant", flexible=True), Column("pairs", True), Column("same", True), Column("won", True),
               Column("lost", True), Column("preference", True), Column("first text", True),
               Column("both orders", True), Column("unclear", True), Column("verdict", flexible=True)]  # fmt: skip
    return Grid(columns, [
        [Item(row.variant), Item(str(row.pairs)), Item(str(row.same)), Item(str(row.wins)), Item(str(row.losses)),
         _signed(row.preference), _share(row.first_preferred), _share(row.consistent), Item(str(row.unclear)),
         Item(missing=row.reason) if row.word is None else Item(row.word, tone=TONES[row.word])]
        for row in report.rows
    ])  # fmt: skip


def _signed(found: Figure) -> Item:
    if found.value is None:
        return Item(missing=found.reason)
    interval = "" if found.low is None else f"{found.low:+.2f} to {found.high:+.2f}"
    return Item(f"{found.value:+.2f}", interval)


def _share(found: Figure) -> Item:
    return Item(missing=found.reason) if found.value is None else Item(f"{found.value:.0%}")
