"""The report on a terminal: the sentence first, then tables that fit, and nothing that shouts."""

import io
import shutil
from collections.abc import Callable, Sequence
from typing import TextIO

from rich.box import Box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from quantcheck.report import grids, matrices
from quantcheck.report.blocks import drift_lines
from quantcheck.report.capacity import capacity_grid
from quantcheck.report.cost_grids import cost_grid, cost_notes
from quantcheck.report.damage_grids import continuation_lines
from quantcheck.report.decision import decision_grid
from quantcheck.report.energy import energy_lines
from quantcheck.report.frontiers import frontier_lines
from quantcheck.report.gpu_memory import gpu_memory_grid
from quantcheck.report.grids import Grid, Item
from quantcheck.report.prose import machine_words, noise_lines, reading_guide
from quantcheck.report.quality import kl_label
from quantcheck.report.roofline_grid import shown_explanations
from quantcheck.report.slices import MOST_SHOWN, found, slice_grid
from quantcheck.report.summary import Summary

__all__ = ["render", "render_parts"]

WIDE = 110
"""From this width on, a figure and its interval share a line."""

WORD_WIDTH = 13
"""Of a verdict column: `no detectable difference` then takes two lines on a narrow terminal, all others one."""

SUBJECT_WIDTH = 26
CELL_WIDTH = 18
"""Of a matrix: room for subject and baseline, and for each further variant."""

STYLES = {"": "", "good": "green", "bad": "red", "open": "yellow", "quiet": "dim"}

LINE = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
ASCII_LINE = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def render(summary: Summary, stream: TextIO, *, width: int | None = None) -> str:
    """The report as text for `stream`, which is asked what it is but not written to.

    A terminal gets colours and its own width; anything else gets plain ASCII, 100 columns wide unless COLUMNS
    says otherwise. `width` overrides both.
    """
    return _rendered(lambda page: page.write(summary), stream, width)


def render_parts(
    lines: Sequence[tuple[str, str]], parts: Sequence[tuple[str, Grid]], stream: TextIO, *, width: int | None = None
) -> str:
    """Lines, each with its style, then tables under titles, as `render` does a report; empty tables are left out."""

    def write(page: "_Page") -> None:
        page.lines(lines)
        for title, grid in parts:
            if grid.rows:
                page.section(title, grid)

    return _rendered(write, stream, width)


def _rendered(write: "Callable[[_Page], None]", stream: TextIO, width: int | None) -> str:
    terminal = stream.isatty()
    columns = width or shutil.get_terminal_size((100, 24)).columns
    unicode = terminal and (stream.encoding or "").lower().replace("-", "").startswith("utf")
    page = _Page(columns, terminal, LINE if unicode else ASCII_LINE)
    write(page)
    lines = (line.rstrip() if not terminal else line for line in page.text().split("\n"))
    text = "\n".join(lines)
    return text if unicode else text.encode("ascii", "replace").decode()


class _Page:
    def __init__(self, width: int, terminal: bool, box: Box) -> None:
        self._buffer = io.StringIO()
        self._console = Console(
            file=self._buffer, width=max(width, 60), force_terminal=terminal, highlight=False, markup=False,
            emoji=False, legacy_windows=False, color_system="auto" if terminal else None,
        )  # fmt: skip
        self._wide = width >= WIDE
        self._box = box

    def text(self) -> str:
        return self._buffer.getvalue()

    def write(self, summary: Summary) -> None:
        about = summary.experiment
        self._line(Text(f"{about.name}: {about.model} on {about.engine}, baseline {about.baseline}", style="dim"))
        self._gap()
        self._line(Text(summary.headline.sentence, style="bold"))
        self._gap()
        self._line(Text(summary.recommendation.sentence, style="green" if summary.recommendation.variant else "yellow"))
        for warning in summary.warnings:
            self._line(Text(f"! {warning.text}; {warning.remedy}", style="yellow"))
        self.section("Verdicts", grids.verdict_grid(summary))
        if decision_grid(summary).rows:
            self._list("Decision", [row.sentence for row in summary.decisions])
        if summary.quality:
            self._matrix("Quality by task (change of accuracy, -lost +gained items)", matrices.task_matrix, summary)
        if summary.corpora:
            title = f"Perplexity (ratio, {kl_label(summary.corpora)} in nats)"
            self._matrix(title, matrices.corpus_matrix, summary)
        if lines := continuation_lines(summary):
            self._list("Greedy continuations of the same prompts", lines)
        if found(summary):
            self.section("Exploratory: where it broke (q <= 0.05, no verdict)", slice_grid(summary, MOST_SHOWN))
        if summary.speed:
            self._matrix("Speed by load (ratio of output throughput, 95% CI)", matrices.speed_matrix, summary)
        if lines := shown_explanations(summary):
            self._list("Why", lines)
        if lines := energy_lines(summary):
            self._list("Energy per output token", lines)
        if summary.capacity:
            self.section("Highest load that meets the SLO", capacity_grid(summary))
        if any(row.invalid_for for row in summary.blocks):
            self._list("Drift", drift_lines(summary))
        if summary.costs:
            self.section("Cost (USD per million tokens)", cost_grid(summary))
            self._list("Assumed", cost_notes(summary), style="dim")
        if summary.load_costs:
            self._matrix("Cost by load (USD per million output tokens)", matrices.load_cost_matrix, summary)
        if lines := frontier_lines(summary):
            self._list("Pareto frontiers", lines)
        self.section("Memory", grids.memory_grid(summary))
        if summary.gpu_memory:
            self.section("On the GPU", gpu_memory_grid(summary))
        if summary.noise_floor:
            self._list(f"Noise floor: {about.baseline} against itself", noise_lines(summary))
        machine = machine_words(summary.environment)
        if machine:
            self._title("Environment")
            self._line(Text(machine))
        if summary.not_measured:
            self._list("Not measured", [f"{item.what}: {item.reason}" for item in summary.not_measured])
        if guide := reading_guide(summary):
            self._list("How to read it", guide, style="dim")

    def lines(self, lines: Sequence[tuple[str, str]]) -> None:
        for text, style in lines:
            self._line(Text(text, style=style))

    def _line(self, text: Text) -> None:
        self._console.print(Padding(text, (0, 0, 0, 2)))

    def _gap(self) -> None:
        self._console.print()

    def _title(self, title: str) -> None:
        self._gap()
        self._line(Text(title, style="bold cyan"))

    def _list(self, title: str, lines: Sequence[str], style: str = "") -> None:
        self._title(title)
        for line in lines:
            row = Table.grid(padding=(0, 1))
            row.add_row(Text("-", style="dim"), Text(line, style=style))
            self._console.print(Padding(row, (0, 0, 0, 2)))

    def _matrix(self, title: str, matrix: Callable[[Summary, Sequence[str]], Grid], summary: Summary) -> None:
        """As many variants side by side as fit; the rest in further tables under the same title."""
        names = [row.name for row in summary.variants if not row.baseline]
        fit = max(1, (self._console.width - SUBJECT_WIDTH) // CELL_WIDTH)
        self._title(title)
        for start in range(0, max(len(names), 1), fit):
            if start:
                self._gap()
            self._table(matrix(summary, names[start : start + fit]), stacked=True)

    def section(self, title: str, grid: Grid) -> None:
        self._title(title)
        self._table(grid, stacked=not self._wide)

    def _table(self, grid: Grid, *, stacked: bool) -> None:
        notes: dict[str, int] = {}
        tall = stacked and any(item.detail for row in grid.rows for item in row)
        table = Table(
            box=self._box, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0) if self._wide else 0,
            header_style="dim", leading=1 if tall else 0,
        )  # fmt: skip
        for column in grid.columns:
            table.add_column(
                Text(column.name), justify="right" if column.right else "left", overflow="fold",
                no_wrap=not column.flexible, min_width=WORD_WIDTH if column == grids.WORDS else None,
                max_width=None if self._wide or column != grids.WORDS else WORD_WIDTH,
            )  # fmt: skip
        for row in grid.rows:
            table.add_row(*self._fields(row, notes, "\n" if stacked else "  "))
        self._console.print(Padding(table, (0, 0, 0, 2)))
        for reason, mark in notes.items():
            self._line(Text(f"[{mark}] {reason}", style="dim"))

    def _fields(self, row: Sequence[Item], notes: dict[str, int], join: str) -> list[Text]:
        """A row's fields; the reason for `n/a` becomes a note below, marked once a row, at its last `n/a`."""
        last = {item.missing: at for at, item in enumerate(row) if item.missing is not None}
        fields = []
        for at, item in enumerate(row):
            if item.missing is None:
                text = Text(item.text, style=STYLES[item.tone])
                fields.append(text.append(join).append(item.detail, style="dim") if item.detail else text)
                continue
            mark = notes.setdefault(item.missing, len(notes) + 1)
            fields.append(Text(f"n/a [{mark}]" if last[item.missing] == at else "n/a", style="dim"))
        return fields
