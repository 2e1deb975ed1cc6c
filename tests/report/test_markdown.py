"""`comparison.md`: complete, and safe whatever the names are."""

import re

import pytest

from quantcheck.report.markdown import escape, render
from quantcheck.report.summary import Summary
from tests.report.golden_files import check_golden
from tests.report.test_view import SCENARIOS

HOSTILE = "a|b*c`d`<img src=x>_e_[f](g)"


def tables(text: str) -> list[list[str]]:
    return [block.split("\n") for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE) for block in [block.strip()]]


def width(row: str) -> int:
    return len(re.findall(r"(?<!\\)\|", row))


def test_golden(summary: Summary) -> None:
    check_golden("comparison.md", render(summary))


def test_golden_of_a_failed_variant() -> None:
    check_golden("comparison-failed-variant.md", render(SCENARIOS["one variant failed"]))


def test_golden_of_a_gpu() -> None:
    text = render(SCENARIOS["on a GPU"])
    parts = [text[text.index(f"\n{title}\n"):].split("\n## ", 2) for title in ("## Energy", "## Memory")]
    check_golden("comparison-gpu.md", "".join(f"## {part[1]}" for part in parts))


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_is_complete_and_its_tables_are_whole(name: str) -> None:
    text = render(SCENARIOS[name])
    for title in ("Verdicts", "Memory", "Environment", "How to read the words", "What was not measured",
                  "How to run it again"):  # fmt: skip
        assert f"\n## {title}\n" in text
    found = tables(text)
    assert found
    for table in found:
        assert len({width(row) for row in table}) == 1, table[0]
    assert "None" not in re.sub(r"`[^`]*`", "", text)
    assert text.endswith("\n")


def test_hostile_names_stay_text(summary: Summary) -> None:
    text = summary.model_dump_json().replace("Q4_K_M", HOSTILE)
    hostile = Summary.model_validate_json(text)
    rendered = render(hostile)
    for table in tables(rendered):
        assert len({width(row) for row in table}) == 1
    assert not re.search(r"(?<!\\)<img", rendered)
    assert not re.search(r"(?<!\\)\[f", rendered)
    assert rendered.count(escape(HOSTILE)) > 10


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("Q4_K_M", "Q4_K_M"),
        ("_x_", "\\_x\\_"),
        ("a | b\nc", "a \\| b c"),
        ("# title", "\\# title"),
        ("- item", "\\- item"),
        ("-0.3 pp", "-0.3 pp"),
        ("p <0.001", "p <0.001"),
        ("<b>", "\\<b>"),
        ("a\\b", "a\\\\b"),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped
