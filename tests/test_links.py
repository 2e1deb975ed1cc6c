"""Every relative link and anchor of the hand-written and generated pages leads somewhere."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
PARSER = MarkdownIt("commonmark").enable("table")


def tokens(page: Path) -> list[Token]:
    return PARSER.parse(page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[str]:
    for block in tokens(page):
        for token in block.children or ():
            for key in ("href", "src"):
                if isinstance(target := token.attrGet(key), str):
                    yield target


def anchors(page: Path) -> set[str]:
    """As GitHub makes them: lower case, no punctuation, dashes for spaces, -1 and so on for those that come again."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    blocks = tokens(page)
    for opening, inline in itertools.pairwise(blocks):
        if opening.type == "heading_open":
            text = "".join(token.content for token in inline.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return found | set(re.findall(r'<a (?:id|name)="([^"]+)"', page.read_text(encoding="utf-8")))


def broken(page: Path) -> list[str]:
    wrong = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = page if not parts.path else page.parent / unquote(parts.path)
        there = target.exists()
        if not there or (parts.fragment and target.suffix == ".md" and parts.fragment not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_or_anchor_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` c!\n\n## Same\n\n## Same\n\n[1](#a-b-c) [2](#same-1) [3](#same-2) [4](none.md) "
                    "[5](page.md#x)\n\n| [6](gone/) |\n|---|\n| [7](https://example.org/x#y) |\n")
    assert broken(page) == ["#same-2", "none.md", "page.md#x", "gone/"]
