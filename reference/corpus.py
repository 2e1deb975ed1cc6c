# ruff: noqa: SIM905 - word lists read better as text
"""English text from Debian's documentation packages: fetch, turn to plain text, write one file.

What it does: downloads the packages named in PACKAGES with apt, unpacks them without installing,
turns their English pages into plain text and writes `corpus.jsonl.xz`, one `{"package", "text"}` a line.
The package of the held-out corpus (HELD_OUT) is never read here; `heldout.py` reads only that one.

What it does not do: commit any text (the packages have many licences), or read a translation.
"""

from __future__ import annotations

import gzip
import html.parser
import json
import lzma
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# name -> (version trained on, path globs below the unpacked package, kind of file)
PACKAGES: dict[str, tuple[str, str, str]] = {
    "anarchism": ("15.3-3", "usr/share/doc/anarchism/html/*.html", "html"),
    "aptitude-doc-en": ("0.8.13-5", "usr/share/doc/**/*.html", "html"),
    "debian-faq": ("11.1", "usr/share/doc/debian/FAQ/**/*.en.html", "html"),
    "debian-handbook": ("11.20220922", "usr/share/doc/debian-handbook/html/en-US/*.html", "html"),
    "debian-history": ("2.28", "usr/share/doc/debian-history/docs/*.en.html", "html"),
    "debian-policy": ("4.6.2.0", "usr/share/doc/debian-policy/policy.html/*.html", "html"),
    "debian-reference-en": ("2.100", "usr/share/debian-reference/*.en.html", "html"),
    "developers-reference": ("12.18", "usr/share/developers-reference/*.html", "html"),
    "dict-foldoc": ("20230119-1", "usr/share/dictd/foldoc.dict.dz", "dict"),
    "dict-gcide": ("0.48.5+nmu2", "usr/share/dictd/gcide.dict.dz", "dict"),
    "exim4-doc-html": ("4.96-1", "usr/share/doc/**/*.html", "html"),
    "fortunes": ("1:1.99.1-7.3", "usr/share/games/fortunes/*.u8", "fortune"),
    "gimp-help-en": ("2.10.34-2", "usr/share/gimp/2.0/help/en/*.html", "html"),
    "git-doc": ("1:2.39.5-0+deb12u3", "usr/share/doc/git-doc/**/*.html", "html"),
    "gnome-user-docs": ("43.0-2", "usr/share/help/C/**/*.page", "html"),
    "installation-guide-amd64": (
        "20230508+deb12u1",
        "usr/share/doc/installation-guide-amd64/en/*.html",
        "html",
    ),
    "jargon-text": ("4.4.7-4.1", "usr/share/doc/jargon-text/jargon.txt.gz", "text"),
    "libreoffice-help-en-us": ("4:7.4.7-1+deb12u14", "usr/share/**/en-US/text/**/*.html", "html"),
    "maint-guide": ("1.2.53", "usr/share/doc/maint-guide/html/*.en.html", "html"),
    "manpages": ("6.03-2", "usr/share/man/man*/*.gz", "man"),
    "manpages-dev": ("6.03-2", "usr/share/man/man*/*.gz", "man"),
    "octave-doc": ("7.3.0-2", "usr/share/doc/octave/**/*.html", "html"),
    "perl-doc": ("5.36.0-7+deb12u4", "usr/share/perl/**/*.pod", "text"),
    "postgresql-doc-15": ("15.20-0+deb12u1", "usr/share/doc/**/html/*.html", "html"),
    "python3.11-doc": ("3.11.2-6+deb12u9", "usr/share/doc/python3.11/html/**/*.html", "html"),
    "sqlite3-doc": ("3.40.1-2+deb12u2", "usr/share/doc/sqlite3/**/*.html", "html"),
    "vim-runtime": ("2:9.0.1378-2+deb12u2", "usr/share/vim/vim90/doc/*.txt", "text"),
    "wordnet-base": ("1:3.0-37", "usr/share/wordnet/data.*", "wordnet"),
}
HELD_OUT = ("apache2-doc", "2.4.71-1~deb12u1")

BLOCKS = set(
    "p div h1 h2 h3 h4 h5 h6 li dt dd tr table ul ol dl br blockquote section title item note list "
    "hr caption figure center td steps screen".split()
)
SKIPPED = set("script style nav header footer head svg math form button select info links noscript".split())


class Page(html.parser.HTMLParser):
    """Collects the running text of one HTML (or Mallard) page; code blocks keep their line breaks."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.skip = 0
        self.pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SKIPPED:
            self.skip += 1
        elif tag == "pre":
            self.pre += 1
            self.parts.append("\n")
        elif tag in BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in SKIPPED:
            self.skip = max(0, self.skip - 1)
        elif tag == "pre":
            self.pre = max(0, self.pre - 1)
            self.parts.append("\n")
        elif tag in BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.skip:
            self.parts.append(data if self.pre else re.sub(r"\s+", " ", data))


def html_text(source: str) -> str:
    """Plain text of an HTML page: one line a paragraph, single spaces, no markup."""
    page = Page()
    page.feed(source)
    lines = (re.sub(r"[ \t\u00a0]+", " ", line).strip() for line in "".join(page.parts).split("\n"))
    return "\n".join(line for line in lines if line)


def man_text(source: str) -> str:
    """Readable text of a man page: macros dropped, their words kept."""
    words: list[str] = []
    for line in source.split("\n"):
        if line.startswith(('.\\"', "'\\\"", ".TH", ".nf", ".fi", ".ad", ".hy", ".if", ".de", ".ie", ".el")):
            continue
        if re.match(r"\.(SH|SS|PP|TP|P|LP|IP|HP)\b", line):
            words.append("\n" + line[3:].strip().strip('"') + ("\n" if line[1] == "S" else ""))
            continue
        if line.startswith("."):
            line = re.sub(r"^\.\w+\s*", "", line).replace('"', "")
        line = re.sub(r"\\f[A-Z]|\\f\(..|\\&|\\c|\\s[-+]?\d", "", line)
        words.append(line.replace("\\-", "-").replace("\\e", "\\").replace("\\(aq", "'").replace("\\ ", " "))
    text = re.sub(r"\\\(..|\\\[[^]]*\]", "", " ".join(words))
    return "\n".join(x.strip() for x in re.sub(r"[ \t]+", " ", text).split("\n") if x.strip())


def joined(text: str) -> str:
    """Undoes hard line breaks: lines of a paragraph become one line."""
    paragraphs = re.split(r"\n\s*\n", text)
    return "\n".join(re.sub(r"\s+", " ", p).strip() for p in paragraphs if p.strip())


def documents(kind: str, source: str) -> Iterator[str]:
    """The documents of one file."""
    if kind == "html":
        yield html_text(source)
    elif kind == "man":
        yield man_text(source)
    elif kind == "text":
        yield joined(re.sub(r"(?m)^=(?:head\d|item|over|back|cut|for|begin|end)\b *\d*|[CFLBI](?=<)", "", source))
    elif kind == "fortune":
        yield from (joined(piece) for piece in source.split("\n%\n"))
    elif kind == "dict":
        # an entry starts at column 0; eight entries make a document of a useful length
        entries = [joined(e) for e in re.split(r"\n(?=\S)", source)]
        entries = [re.sub(r" \[1913 Webster\]| \[PJC\]|[{}]", "", e) for e in entries]
        for i in range(0, len(entries), 8):
            yield "\n".join(entries[i : i + 8])
    elif kind == "wordnet":
        lines = []
        for line in source.split("\n"):
            head, bar, gloss = line.partition(" | ")
            if bar and not line.startswith(" "):
                lines.append(head.split(" ")[4].replace("_", " ") + ": " + gloss.strip())
        for i in range(0, len(lines), 12):
            yield "\n".join(lines[i : i + 12])


def fetch(name: str, version: str, folder: Path) -> Path:
    """Downloads and unpacks one package at its exact version; returns the unpacked root."""
    root = folder / name
    if not root.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", f"{name}={version}"], cwd=folder, check=True, capture_output=True)
        archive = next(folder.glob(f"{name}_*.deb"))
        subprocess.run(["dpkg", "-x", archive.name, name], cwd=folder, check=True)
    return root


def read(path: Path) -> str:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return data.decode("utf-8", errors="replace").replace("\r", "").replace("\u00a0", " ")


def package_texts(root: Path, pattern: str, kind: str) -> list[str]:
    """Cleaned documents of one package: English, at least 200 characters, page furniture removed."""
    texts: list[str] = []
    for path in sorted(root.glob(pattern)):
        if path.is_file():
            texts.extend(documents(kind, read(path)))
    # a line that many pages share is navigation, not prose
    seen = Counter(line for text in texts for line in set(text.split("\n")))
    limit = max(4, len(texts) // 50)
    kept = []
    for text in texts:
        text = "\n".join(line for line in text.split("\n") if seen[line] <= limit)
        ascii_share = sum(c.isascii() for c in text) / max(1, len(text))
        if len(text) >= 200 and ascii_share > 0.97:
            kept.append(text)
    return list(dict.fromkeys(kept))


def build(out: Path, folder: Path) -> None:
    """Writes the training corpus and prints the characters that each package gave."""
    assert HELD_OUT[0] not in PACKAGES
    with lzma.open(out, "wt", encoding="utf-8", preset=6) as file:
        for name, (version, pattern, kind) in PACKAGES.items():
            texts = package_texts(fetch(name, version, folder), pattern, kind)
            for text in texts:
                file.write(json.dumps({"package": name, "text": text}, ensure_ascii=False) + "\n")
            print(f"{name}={version}: {len(texts)} documents, {sum(map(len, texts)):,} characters", flush=True)


if __name__ == "__main__":
    import sys

    build(Path(sys.argv[1]), Path(sys.argv[2]))
