"""What a Markdown reader makes of a text: markdown-it, with GitHub's tables, strikethrough and bare links."""

from html.parser import HTMLParser

from markdown_it import MarkdownIt

ALLOWED = {"h1", "h2", "h3", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "code", "pre",
           "blockquote"}  # fmt: skip
"""The elements that the reports use themselves; a link, a picture, an emphasis or raw HTML is none of them."""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.rows: list[list[list[str]]] = []
        self.headings: list[str] = []
        self.text = ""
        self._cell = False
        self._heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "table":
            self.rows.append([])
        elif tag == "tr":
            self.rows[-1].append([])
        elif tag in ("td", "th"):
            self.rows[-1][-1].append("")
            self._cell = True
        elif tag in ("h1", "h2", "h3"):
            self.headings.append("")
            self._heading = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False
        elif tag in ("h1", "h2", "h3"):
            self._heading = False

    def handle_comment(self, data: str) -> None:
        self.tags.add("!--")

    def handle_decl(self, decl: str) -> None:
        self.tags.add("!")

    def handle_pi(self, data: str) -> None:
        self.tags.add("?")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self.rows[-1][-1][-1] += data
        if self._heading:
            self.headings[-1] += data


def read(markdown: str) -> _Reader:
    """`tags`: every element; `rows`: by table, the texts of cells; `headings`; `text`: all that is shown."""
    reader = _Reader()
    reader.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))
    reader.close()
    return reader
