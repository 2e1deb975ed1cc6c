"""Any text stays itself, wherever the report puts it: read back by a Markdown reader."""

from hypothesis import given, settings
from hypothesis import strategies as st

from quantcheck.report.grids import Column, Grid, Item
from quantcheck.report.markdown_text import bullets, code, escape, fenced, pairs, table
from tests.report.rendered import ALLOWED, read

PIECES = [*"ab1 \n\t`*_~<>[]()!#+-=|\\&;:/.$'\"{}^%@", "<b>", "</script>", "<!--", "-->", "&lt;", "&#60;", "```",
          "](x)", "![", "http://a.b", "1. ", "***", "| --- |"]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=14).map("".join).filter(lambda text: text.split())


def line(text: str) -> str:
    return " ".join(text.split())


@settings(max_examples=300, deadline=None)
@given(texts, texts)
def test_any_text_stays_itself(a: str, b: str) -> None:
    grid = Grid([Column(a), Column(b)], [[Item(a, b, "good"), Item(missing=b)], [Item(b), Item(a, tone="bad")]])
    shown = read("\n\n".join([
        f"# {escape(a)}", f"**{escape(a)}**", table(grid), bullets([a, b]), f"> **Warning:** {escape(b)}.",
        pairs({a: b}), f"{code(a)} is a name", fenced(a),
    ]))  # fmt: skip
    assert shown.tags <= ALLOWED
    assert shown.headings == [line(a)]
    cells, named = shown.rows
    assert cells == [[line(a), line(b)], [f"{line(a)} ({line(b)})", line(f"n/a ({b})")], [line(b), line(a)]]
    assert named == [["", ""], [line(a), line(b)]]
    assert shown.text.endswith(f"{line(a).replace('`', chr(39))} is a name\n{a}\n\n")
