"""Every table of the view model as CSV (RFC 4180), for spreadsheets and data frames.

The columns follow from the rows' own types, so that a new table or figure needs nothing here. A figure takes four
columns: NAME, NAME_low, NAME_high (its 95% interval) and NAME_reason. Values are in stored units, as in summary.json.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from quantcheck.metrics import METRICS, Metric
from quantcheck.report.row import Figure, Row
from quantcheck.report.summary import Summary

__all__ = ["ColumnInfo", "Table", "as_csv", "csv_files", "safe", "stored_unit", "tables"]

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet may take for the begin of a formula, in text; some read the wide forms, too."""

KEYS = ("variant", "task", "corpus", "workload", "load", "metric")
"""What says, in a table of a row's parts, of which row they are."""

STORED = {"ms": "s", "MB": "bytes", "GB": "bytes", "%": "fraction"}
"""Of a metric that is shown in another unit than it is stored in."""

UNITS = {
    "ratio": "ratio", "delta": "fraction", "baseline_accuracy": "fraction", "detectable": "fraction",
    "margin": "fraction", "lower_bound": "fraction", "upper_bound": "fraction", "schedule_lag": "s", "read_lag": "s",
    "hour_usd": "USD/h", "output": "USD per million tokens", "input": "USD per million tokens",
    "blended": "USD per million tokens", "making": "USD per million tokens", "total": "USD per million tokens",
    "bytes": "bytes", "size_bytes": "bytes", "mbu": "fraction", "mfu": "fraction", "prefill_mbu": "fraction",
    "prefill_mfu": "fraction", "output_throughput": "tok/s", "input_throughput": "tok/s", "kl_share": "fraction",
    "nll_change": "nats per token", "drift": "natural logarithm", "agreement": "fraction", "same_share": "fraction",
}  # fmt: skip
"""Of columns that are no metric by name, by their whole name or its last part."""

DEFINITIONS = {
    "variant": "the variant's name in the experiment", "load": "workload@cSTREAMS, @rREQUESTS-PER-SECOND or @trace",
    "workload": "its name in the experiment", "task": "the suite's name", "corpus": "the suite's name",
    "metric": "key of the metric, see metrics.csv", "word": "the verdict", "reason": "why something is missing or open",
    "blocks": "blocks that the figures rest on", "more_blocks": "further blocks that would settle the word, a plan",
    "more_items": "further items that would settle the word, a plan", "n": "items, paired with the baseline's",
    "lost": "items that the baseline has right and the variant wrong",
    "gained": "items that the variant has right and the baseline wrong",
    "speed_ratio": "output throughput, variant / baseline: the geometric mean over loads",
    "ratio": "ITL at `load` over ITL at `lowest`",
}  # fmt: skip
"""By a column's whole name or its last part, where neither the row nor the registry of metrics has one."""


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """One column: its unit in the file (empty: a count, a word or a text) and what it holds."""

    name: str
    unit: str
    definition: str


@dataclass(frozen=True)
class Table:
    """One file's content."""

    columns: Sequence[ColumnInfo]
    rows: list[list[Any]] = field(default_factory=list)


def csv_files(summary: Summary) -> dict[str, str]:
    """File name to content: a file per table, empty ones with their header, and `columns.csv` that explains them."""
    found = tables(summary)
    found["metrics"] = _metrics()
    about = [ColumnInfo(name, "", what) for name, what in (
        ("table", "the file's name, without .csv"), ("column", "as in its header"),
        ("unit", "of the values in the file; empty: a count, a word or a text"), ("definition", "what it holds"))]
    explained = Table(about, [[name, column.name, column.unit, column.definition]
                              for name, table in found.items() for column in table.columns])  # fmt: skip
    return {f"{name}.csv": as_csv(table) for name, table in {**found, "columns": explained}.items()}


def tables(summary: Summary) -> dict[str, Table]:
    """The lists of rows in the summary, the parts of their rows as tables of their own, and the rest as pairs."""
    found: dict[str, Table] = {}
    for name, info in Summary.model_fields.items():
        row = _row_type(info.annotation)
        if row is not None:
            rows: list[Row] = getattr(summary, name)
            found[name] = Table(list(_columns(row)), [list(_values(row, one)) for one in rows])
            found |= _parts(name, row, rows)
    found["experiment"] = _pairs(_about(summary))
    found["environment"] = _pairs(summary.environment)
    found["settings"] = _pairs(summary.settings)
    keyed = [ColumnInfo("variant", "", ""), *found["settings"].columns]
    found["artifacts"] = Table(keyed, [[variant, *pair] for variant, recipe in summary.artifacts.items()
                                       for pair in _leaves(recipe)])  # fmt: skip
    return found


def _about(summary: Summary) -> dict[str, Any]:
    return {
        "schema_version": summary.schema_version, **summary.experiment.model_dump(),
        "sentence": summary.headline.sentence, "recommended": summary.recommendation.variant,
        "recommendation": summary.recommendation.sentence,
        "cells": None if summary.cells is None else summary.cells.model_dump(),
    }  # fmt: skip


def _row_type(annotation: Any) -> type[Row] | None:
    """What the rows of a list are; None for anything else."""
    inner = get_args(annotation)[0] if get_origin(annotation) is list else None
    return inner if isinstance(inner, type) and issubclass(inner, Row) else None


def _nested(annotation: Any) -> type[Row] | None:
    """The row or figure that a field holds, or may hold; None where it holds none."""
    options = [annotation, *get_args(annotation)] if get_origin(annotation) is not list else []
    return next((one for one in options if isinstance(one, type) and issubclass(one, Row)), None)


def _columns(row: type[Row], prefix: str = "") -> Iterator[ColumnInfo]:
    for name, info in row.model_fields.items():
        full, inner = f"{prefix}{name}", _nested(info.annotation)
        unit, definition = _explained(name, full, info.description)
        if inner is Figure:
            yield ColumnInfo(full, unit, definition)
            yield ColumnInfo(f"{full}_low", unit, f"lower end of the 95% interval of {full}")
            yield ColumnInfo(f"{full}_high", unit, f"upper end of the 95% interval of {full}")
            yield ColumnInfo(f"{full}_reason", "", f"why {full}, or only its interval, is missing")
        elif inner is not None:
            yield from _columns(inner, f"{full}_")
        elif _row_type(info.annotation) is None:
            yield ColumnInfo(full, unit, definition)


def _explained(name: str, full: str, description: str | None) -> tuple[str, str]:
    if name == "value":
        return "stored unit of `metric`", description or "of the metric that the column `metric` names: see metrics.csv"
    known = METRICS.get(name)
    unit = UNITS.get(full) or UNITS.get(name) or ("" if known is None else stored_unit(known))
    if known is not None:
        return unit, description or known.definition
    return unit, description or DEFINITIONS.get(full) or DEFINITIONS.get(name, "")


def _values(row: type[Row], one: Row | None) -> Iterator[Any]:
    for name, info in row.model_fields.items():
        inner, value = _nested(info.annotation), None if one is None else getattr(one, name)
        if inner is Figure:
            yield from ([None] * 4 if value is None else [value.value, value.low, value.high, value.reason])
        elif inner is not None:
            yield from _values(inner, value)
        elif _row_type(info.annotation) is None:
            yield "; ".join(map(str, value)) if isinstance(value, list) else value


def _parts(name: str, row: type[Row], rows: Sequence[Row]) -> Iterator[tuple[str, Table]]:
    """Lists of rows within rows: a table each, every line with the keys of the row that it belongs to."""
    keys = [key for key in KEYS if key in row.model_fields]
    for part, info in row.model_fields.items():
        inner = _row_type(info.annotation)
        if inner is None:
            continue
        own = list(_columns(inner))
        kept = [key for key in keys if key not in {column.name for column in own}]
        lines = [[*(getattr(one, key) for key in kept), *_values(inner, line)]
                 for one in rows for line in getattr(one, part)]  # fmt: skip
        heads = [ColumnInfo(key, "", f"of the row in {name}.csv") for key in kept]
        yield f"{name}_{part}", Table([*heads, *own], lines)


def _pairs(values: Mapping[str, Any]) -> Table:
    columns = [ColumnInfo("key", "", "outer.inner"), ColumnInfo("value", "", "")]
    return Table(columns, [list(pair) for pair in _leaves(values)])


def _leaves(nested: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(nested, Mapping):
        for key, value in nested.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(nested, list | tuple) and any(isinstance(value, Mapping | list) for value in nested):
        for at, value in enumerate(nested):
            yield from _leaves(value, f"{prefix}.{at}")
    elif isinstance(nested, list | tuple):
        yield prefix, "; ".join(map(str, nested))
    else:
        yield prefix, nested


def stored_unit(metric: Metric) -> str:
    """The unit that a metric's values have in files, where `unit` is the one that is shown."""
    return metric.unit if metric.scale == 1.0 else STORED[metric.unit]


def _metrics() -> Table:
    columns = [ColumnInfo(name, "", what) for name, what in (
        ("key", "as in the columns `metric`"), ("label", "in reports"), ("unit", "of the values in these files"),
        ("shown", "unit in reports"), ("scale", "shown = stored x scale"), ("better", "which direction is better"),
        ("definition", ""))]
    return Table(columns, [[m.key, m.label, stored_unit(m), m.unit, m.scale, m.better, m.definition]
                           for m in METRICS.values()])  # fmt: skip


def as_csv(table: Table) -> str:
    """The table as text: header first, lines that end with CR LF, texts `safe`, nothing for what is missing."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow([column.name for column in table.columns])
    writer.writerows([_field(value) for value in row] for row in table.rows)
    return file.getvalue()


def _field(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return safe(value) if isinstance(value, str) else value


def safe(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe is put before one that begins like a formula.

    Before one that begins with an apostrophe, too, so that taking one away gives the text back.
    """
    return f"'{text}" if text.startswith((*FORMULA, "'")) or text.lstrip().startswith(FORMULA) else text
