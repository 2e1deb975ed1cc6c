"""`comparison.md`: complete, and safe whatever the names are."""

import json
import re
from typing import Any

import pytest

from quantcheck.report.markdown import escape, render
from quantcheck.report.summary import Summary
from tests.report.golden_files import check_golden
from tests.report.rendered import ALLOWED, read
from tests.report.situations import SITUATIONS
from tests.report.test_view import SCENARIOS

HOSTILE = [
    "a|b*c`d`<img src=x>_e_[f](g)",
    "</script><img src=x onerror=alert(1)>",
    "# a\n\n| b | c |\n|---|---|\n| d | e |",
    "```\n</code></pre><b>x</b>\n````",
    "&lt;i&gt; <!-- x --> <?php ?> \\` **x** ~~y~~ __z__ 1. q",
]


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


@pytest.mark.parametrize("name", SITUATIONS)
def test_golden_of_a_situation(name: str) -> None:
    check_golden(f"comparison-{name}.md", render(SITUATIONS[name]()))


def test_the_sentence_comes_first_and_the_verdicts_second(summary: Summary) -> None:
    shown = read(render(summary))
    assert shown.headings[:3] == ["reference: reference on llama.cpp", "Verdicts", "Key comparisons"]
    assert shown.text.index(summary.headline.sentence) < shown.text.index("Verdicts")
    assert [row[0] for row in shown.rows[0][1:]] == [row.name for row in summary.variants]


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_is_complete_and_its_tables_are_whole(name: str) -> None:
    text = render(SCENARIOS[name])
    for title in ("Verdicts", "Key comparisons", "What was compared", "Memory", "Environment", "Settings and hashes",
                  "How to read the words", "What was not measured", "How to run it again"):  # fmt: skip
        assert f"\n## {title}\n" in text
    found = tables(text)
    assert found
    for table in found:
        assert len({width(row) for row in table}) == 1, table[0]
    assert "None" not in re.sub(r"`[^`]*`", "", text)
    assert text.endswith("\n")


def with_name(document: Any, old: str, new: str) -> Any:
    """`old` replaced in every text and key of the document, wherever it stands."""
    if isinstance(document, dict):
        return {with_name(key, old, new): with_name(value, old, new) for key, value in document.items()}
    if isinstance(document, list):
        return [with_name(value, old, new) for value in document]
    return document.replace(old, new) if isinstance(document, str) else document


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_stay_text(hostile: str) -> None:
    """As the name of a variant, of a task, of the model, of the experiment and of a reason."""
    document = json.loads(SITUATIONS["all-measured"]().model_dump_json())
    plain = read(render(Summary.model_validate(document)))
    for old in ("Q4_K_M", "reference/arithmetic", "Imaginary"):
        document = with_name(document, old, hostile)
    document["experiment"] |= {"model": hostile, "name": hostile}
    document["not_measured"] = [{"what": hostile, "reason": hostile}]
    document["environment"]["command"] = f"quantcheck run {hostile}"
    shown = read(render(Summary.model_validate(document)))
    assert shown.tags <= ALLOWED
    assert [[len(row) for row in rows] for rows in shown.rows] == [[len(row) for row in rows] for rows in plain.rows]
    one_line = " ".join(hostile.split())
    assert shown.rows[0][3][0] == one_line
    assert f"{one_line}: {one_line} on llama.cpp" in shown.headings
    assert f"quantcheck run {hostile}" in shown.text
    assert len(shown.headings) == len(plain.headings)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("Q4_K_M", "Q4_K_M"),
        ("_x_", "\\_x\\_"),
        ("__x__", "\\_\\_x\\_\\_"),
        ("a | b\nc", "a \\| b c"),
        ("# title", "\\# title"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("---", "\\---"),
        ("-0.3 pp", "-0.3 pp"),
        ("p <0.001", "p <0.001"),
        ("<b>", "\\<b>"),
        ("&lt;", "\\&lt;"),
        ("a & b", "a & b"),
        ("a\\b", "a\\\\b"),
        ("https://a.b", "https\\://a.b"),
        ("$1 and $2", "\\$1 and $2"),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped
    assert read(escape(text)).text.strip() == " ".join(text.split())
