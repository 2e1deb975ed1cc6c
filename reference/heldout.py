"""Writes what ships for measuring: the items of the four skills and the two held-out corpora.

Skill items and stories come from the test side of the split only. The documentation corpus comes from
apache2-doc, a package that the training corpus does not contain.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import arithmetic
import corpus
import formats
import knowledge
import programs
import stories
from scoring import SHIPPED
from split import Sample, draw

ITEMS = 1000
SEED = 7
SKILLS: dict[str, Callable[[random.Random], Sample]] = {
    "arithmetic": arithmetic.make,
    "expressions": programs.make,
    "knowledge": knowledge.make,
    "format": formats.make,
}


def skill_items(name: str, count: int = ITEMS) -> list[dict[str, object]]:
    """`count` test items with distinct prompts, in the order drawn."""
    rng = random.Random(f"{SEED}/{name}")
    items: dict[str, dict[str, object]] = {}
    while len(items) < count:
        sample = draw(SKILLS[name], rng, test=True)
        if sample.prompt not in items and sample.prompt not in knowledge.BEGINNINGS:
            items[sample.prompt] = {"id": f"{name}-{len(items):04d}", "prompt": sample.prompt, **sample.item}
    return list(items.values())


def story_corpus(size: int = 75_000) -> list[dict[str, object]]:
    rng = random.Random(f"{SEED}/stories")
    texts: list[str] = []
    while sum(map(len, texts)) < size:
        text = stories.draw(rng, test=True)
        if 1000 <= len(text) <= 2500 and text not in texts:
            texts.append(text)
    return [{"id": f"stories-{i:03d}", "text": text} for i, text in enumerate(texts)]


def prose(text: str) -> str:
    """The running prose of a manual page: paragraphs that end like sentences, no tables or directives."""
    lines = [line for line in text.split("\n") if len(line) > 80 and line[-1] in ".:" and line[0].isupper()]
    return re.sub(r" ([,.;:])", r"\1", "\n".join(lines))


def documentation_corpus(packages: Path, count: int = 30) -> list[dict[str, object]]:
    """Excerpts of 1.5 to 4 thousand characters from the English pages of the Apache HTTP Server manual."""
    name, version = corpus.HELD_OUT
    root = corpus.fetch(name, version, packages) / "usr/share/doc/apache2-doc/manual/en"
    pages = []
    for path in sorted(root.rglob("*.html*")):
        text = prose(corpus.html_text(corpus.read(path)))
        paragraphs = [p for p in dict.fromkeys(text.split("\n")) if p.isascii() and "Copyright" not in p]
        excerpt = ""
        for paragraph in paragraphs:
            if len(excerpt) + len(paragraph) > 3000:
                break
            excerpt += ("\n" if excerpt else "") + paragraph
        if len(excerpt) >= 1500:
            pages.append((str(path.relative_to(root)).removesuffix(".html"), excerpt))
    random.Random(SEED).shuffle(pages)
    chosen = sorted({text.split("\n")[0]: (page, text) for page, text in pages}.values())
    random.Random(SEED).shuffle(chosen)
    return [{"id": f"httpd/{page}", "text": text} for page, text in chosen[:count]]


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{path.name}: {len(rows)} rows, {path.stat().st_size:,} bytes", flush=True)


def build(packages: Path, folder: Path = SHIPPED) -> None:
    for name in SKILLS:
        write(folder / "skills" / f"{name}.jsonl", skill_items(name))
    write(folder / "corpora" / "stories.jsonl", story_corpus())
    write(folder / "corpora" / "documentation.jsonl", documentation_corpus(packages))


if __name__ == "__main__":
    import sys

    build(Path(sys.argv[1]))
