"""The report as one HTML file: the page that `web/` builds, with a run's summary inside it.

The page asks no network for anything; it opens from a mail attachment. `template.html` is made by `make web`.
"""

from importlib import resources

from quantcheck.report.summary import Summary

__all__ = ["PLACE", "embed", "render", "template"]

PLACE = '<script type="application/json" id="run"></script>'
"""Where the template holds the run."""

# Within a JSON string these escapes mean the same characters, and no HTML parser sees an end of the element in them.
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def embed(json: str) -> str:
    """`json` as the content of a script element: the same document, with nothing that HTML could read as its own."""
    for character, escape in _ESCAPES.items():
        json = json.replace(character, escape)
    return json


def template() -> str:
    """The page without a run: `PLACE` is in it once."""
    text = resources.files("quantcheck.report").joinpath("template.html").read_text(encoding="utf-8")
    if PLACE not in text:
        raise AssertionError("template.html has no place for a run; build it again with `make web`")
    return text


def render(summary: Summary) -> str:
    """The whole page of one run."""
    before, _, after = template().partition(PLACE)
    opening, closing = PLACE.split("><")
    return f"{before}{opening}>{embed(summary.model_dump_json())}<{closing}{after}"
