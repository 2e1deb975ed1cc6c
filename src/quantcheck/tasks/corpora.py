"""The perplexity corpora that people know, read from a user's folder of plain files."""

from collections.abc import Callable, Mapping
from pathlib import Path

from quantcheck.errors import SpecError
from quantcheck.tasks.files import find, json_lines, text

__all__ = ["CORPORA", "read_corpus"]


def _whole(path: Path) -> list[str]:
    """WikiText-2 is scored as one text, headings and blank lines as they are: so do llama.cpp and the papers."""
    return [text(path)]


def _lines(path: Path) -> list[str]:
    return text(path).split("\n")


def _rows(path: Path) -> list[str]:
    rows = []
    for line, row in json_lines(path):
        if not isinstance(row.get("text"), str):
            raise SpecError(f"{path}, line {line}: `text` is missing, or no text")
        rows.append(row["text"])
    return rows


CORPORA: Mapping[str, tuple[tuple[str, Callable[[Path], list[str]]], ...]] = {
    "wikitext2": (("wikitext-2-raw/test.txt", _whole), ("wikitext-2-raw/wiki.test.raw", _whole)),
    "c4": (("c4/c4-validation*.json", _rows), ("c4/*.jsonl", _rows), ("calibration/c4.utf8", _lines)),
}
"""Where each lies in the folder, the first that is found, and how a file becomes documents. The files are those of the
corpora's authors (C4's validation split), and the sample of C4 that exllamav3 calibrates on."""


def read_corpus(folder: Path, name: str) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """The documents of `CORPORA[name]` in `folder`, blank ones left out, and the files that they are from.

    Raises `SpecError` where no file is found or one is damaged.
    """
    for pattern, read in CORPORA[name]:
        if any(folder.glob(pattern + "*")):
            paths = find(folder, pattern)
            documents = tuple(document for path in paths for document in read(path) if document.strip())
            if not documents:
                raise SpecError(f"{folder / pattern}: holds no text")
            return documents, tuple(paths)
    places = ", ".join(pattern for pattern, _ in CORPORA[name])
    raise SpecError(f"{folder}: has no {name}; put it there as one of {places} (also ending in .gz or .bz2)")
