"""CSV of every table: nothing lost on the way, explained, and nothing that a spreadsheet would run."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.metrics import METRICS
from quantcheck.report.csv_tables import FORMULA, csv_files, safe, stored_unit, tables
from quantcheck.report.summary import Summary
from tests.report.situations import SITUATIONS, all_measured


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def unsafe(text: str) -> str:
    return text.removeprefix("'")


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_list_of_rows_is_a_file_with_as_many_lines(name: str) -> None:
    summary = SITUATIONS[name]()
    files = csv_files(summary)
    document = summary.model_dump(mode="json")
    lists = {key: value for key, value in document.items() if isinstance(value, list)}
    assert len(lists) > 15
    for key, rows in lists.items():
        assert len(read(files[f"{key}.csv"])) == len(rows), key
    assert len(read(files["loads_percentiles.csv"])) == sum(len(row["percentiles"]) for row in lists["loads"])
    assert len(read(files["decisions_conditions.csv"])) == sum(len(row["conditions"]) for row in lists["decisions"])


def test_figures_come_back_as_they_were() -> None:
    """Against the summary's own JSON, read by name."""
    summary = all_measured()
    files = csv_files(summary)
    for line, row in zip(read(files["speed.csv"]), summary.speed, strict=True):
        assert (line["load"], line["metric"], line["variant"]) == (row.load, row.metric, row.variant)
        for name, figure in (("value", row.value), ("ratio", row.ratio)):
            for suffix, told in (("", figure.value), ("_low", figure.low), ("_high", figure.high)):
                assert (float(line[name + suffix]) if line[name + suffix] else None) == told
            assert (line[f"{name}_reason"] or None) == figure.reason
    for line, variant in zip(read(files["variants.csv"]), summary.variants, strict=True):
        assert line["baseline"] == ("true" if variant.baseline else "false")
        assert float(line["size_bytes"]) == variant.size.bytes.value
        assert line["quality_harmed"] == "; ".join(variant.quality.harmed)


def test_parts_of_a_row_say_whose_they_are() -> None:
    summary = all_measured()
    lines = read(csv_files(summary)["loads_percentiles.csv"])
    told = [(row.load, row.variant, part.metric, part.percentile) for row in summary.loads for part in row.percentiles]
    assert [(line["load"], line["variant"], line["metric"], line["percentile"]) for line in lines] == told


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_column_is_explained_once_and_told_once(name: str) -> None:
    files = csv_files(SITUATIONS[name]())
    explained = [(line["table"], line["column"]) for line in read(files["columns.csv"])]
    heads = [(file.removesuffix(".csv"), column) for file, text in files.items() if file != "columns.csv"
             for column in next(csv.reader(io.StringIO(text, newline="")))]  # fmt: skip
    assert explained == heads
    assert len(set(heads)) == len(heads)


def test_units_are_those_of_the_files() -> None:
    units = {(line["table"], line["column"]): line["unit"] for line in read(csv_files(all_measured())["columns.csv"])}
    assert units["memory", "rss_bytes"] == units["memory", "rss_bytes_low"] == "bytes"
    assert units["memory", "rss_bytes_reason"] == ""
    assert units["quality", "accuracy"] == units["quality", "delta_high"] == "fraction"
    assert units["corpora", "kl_divergence"] == "nats"
    assert {stored_unit(metric) for metric in METRICS.values()} <= {
        "", "s", "bytes", "fraction", "tok", "tok/s", "req/s", "nats", "bpw", "J/tok", "W"}


def test_what_is_no_table_comes_as_pairs() -> None:
    files = csv_files(all_measured())
    environment = {line["key"]: line["value"] for line in read(files["environment.csv"])}
    assert environment["gpus.0.driver"] == "580.1"
    assert environment["cpu_flags"] == "avx2; fma; f16c"
    recipes = {(line["variant"], line["key"]): line["value"] for line in read(files["artifacts.csv"])}
    assert recipes["Q2_K", "calibration.data_sha256"] == "e" * 64


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", '=HYPERLINK("http://x")', "'=1", "＝1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_is_a_formula(text: str) -> None:
    assert safe(text) == f"'{text}"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_apostrophe_taken_away_gives_the_text_back(text: str) -> None:
    assert unsafe(safe(text)) == text
    assert not safe(text).lstrip().startswith(FORMULA)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_text_comes_back_from_a_file(text: str) -> None:
    """Commas, quotes, line ends, formulas: as the name of a variant and in a reason."""
    document = json.loads(all_measured().model_dump_json())
    document = {**document, "not_measured": [{"what": text, "reason": "x"}],
                "memory": [{**document["memory"][0], "variant": text}]}  # fmt: skip
    files = {name: [[unsafe(cell) for cell in line.values()] for line in read(content)]
             for name, content in csv_files_of(document).items() if name in ("not_measured.csv", "memory.csv")}
    assert files["not_measured.csv"] == [[text, "x"]]
    assert files["memory.csv"][0][0] == text


def csv_files_of(document: dict[str, Any]) -> dict[str, str]:
    return csv_files(Summary.model_validate(document))


def test_numbers_stay_numbers() -> None:
    """A negative change is no text that begins with a minus."""
    lines = read(csv_files(all_measured())["quality.csv"])
    assert min(float(line["delta"]) for line in lines) < 0


def test_tables_know_every_list_of_the_summary() -> None:
    lists = {name for name, value in all_measured().model_dump().items() if isinstance(value, list)}
    assert lists <= set(tables(all_measured()))
