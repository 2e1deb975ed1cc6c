"""Memory by arithmetic beside what was measured of it, as a table."""

from quantcheck.report import figures
from quantcheck.report.grids import VARIANT, Column, Grid, Item
from quantcheck.report.summary import Figure, Summary

__all__ = ["PREDICTED_WORDS", "predicted_grid"]

PREDICTED_WORDS = (
    "Predicted: the bytes of the weight files and what the engine's kernel widens of them, and keys and values of as "
    "many tokens as the engine says its cache has room for. Needed is what the fullest load of fixed streams holds at "
    "most, every request at its full length."
)


def predicted_grid(summary: Summary) -> Grid:
    """A line per variant: the KV cache predicted, measured and needed. Without rows where no load was asked for."""
    columns = [VARIANT, Column("weights", True), Column("KV a token", True), Column("room, tokens", True),
               Column("KV predicted", True), Column("KV measured", True), Column("KV needed", True)]  # fmt: skip
    measured = {row.variant: row.kv_cache_bytes for row in summary.memory}
    none = Figure(reason="not measured")
    return Grid(columns, [
        [
            Item(row.variant), _bytes(row.weights_bytes), _kilobytes(row.kv_bytes_per_token),
            _count(row.kv_room_tokens), _bytes(row.kv_cache_bytes), _bytes(measured.get(row.variant, none)),
            _bytes(row.kv_needed_bytes),
        ]
        for row in summary.predicted_memory
    ])  # fmt: skip


def _bytes(figure: Figure) -> Item:
    return Item(missing=figure.reason) if figure.value is None else Item(figures.value(figure, "weights_bytes"))


def _kilobytes(figure: Figure) -> Item:
    return Item(missing=figure.reason) if figure.value is None else Item(f"{figure.value / 1e3:,.1f} kB")


def _count(figure: Figure) -> Item:
    return Item(missing=figure.reason) if figure.value is None else Item(f"{figure.value:,.0f}")
