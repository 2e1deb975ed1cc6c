"""Whether what a model is judged on was in the text that it was quantized with: shared runs of 13 words.

The measure is that of Brown et al. 2020 (arXiv:2005.14165, appendix C): words in lower case without punctuation, runs
of 13 of them; an item that shares one with the calibration text is counted. Runs that more than ten items have in
common are a template and no content. Items of 8 to 12 words are compared whole; shorter ones are not judged, because
a few common words occur anywhere.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quantcheck.quality.suite import ChoiceTask, Continued, Corpus, Suite
from quantcheck.spec.experiment import Variant

__all__ = ["Overlap", "calibration_texts", "overlap", "overlaps"]

LENGTH = 13
SHORTEST = 8
TEMPLATE = 10
"""A run of words that more items than this share says nothing of a single one."""

CHARACTERS_PER_TOKEN = 8
"""More than nearly any tokenizer takes into one: what was not read of a calibration text is hardly looked at here."""

WORD = re.compile(r"\w+")

Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overlap:
    """One suite against one calibration text.

    `judged` of `of` items (or documents) are long enough to judge; `found` of them share a run with the calibration
    text. `share` is the part of all their runs that do: for documents, which are long, the better figure.
    """

    calibration: str
    suite: str
    unit: str
    of: int
    judged: int
    found: int
    share: float


def calibration_texts(variants: Mapping[str, Variant]) -> dict[str, str]:
    """What the variants' importance matrices were made from, by file; of each as much as was read of it."""
    most: dict[str, int] = {}
    for variant in variants.values():
        if variant.quantize.imatrix is not None:
            name, tokens = variant.quantize.imatrix, variant.quantize.imatrix_tokens
            most[name] = max(most.get(name, 0), tokens * CHARACTERS_PER_TOKEN)
    return {name: Path(name).expanduser().read_text(encoding="utf-8", errors="replace")[:characters]
            for name, characters in most.items()}


def overlaps(calibrations: Mapping[str, str], suites: Sequence[Suite]) -> list[dict[str, Any]]:
    """Every suite against every calibration text (by name), as JSON values."""
    return [
        asdict(overlap(name, text, suite)) for name, text in calibrations.items() for suite in suites
        if not isinstance(suite, Continued)  # nothing is judged there
    ]


def overlap(calibration: str, text: str, suite: Suite) -> Overlap:
    """`suite` against the calibration text called `calibration`."""
    pieces = [_grams(words) for words in map(_words, _texts(suite)) if len(words) >= SHORTEST]
    # Only of an item's own runs; how often one occurs within an item does not matter.
    common = Counter(gram for grams in pieces for gram in set(grams))
    template = set() if isinstance(suite, Corpus) else {gram for gram, items in common.items() if items > TEMPLATE}
    seen = _seen(_words(text), set(common) - template)
    hits = [sum(gram in seen for gram in grams) for grams in pieces]
    runs = sum(map(len, pieces))
    return Overlap(
        calibration=calibration,
        suite=suite.name,
        unit="documents" if isinstance(suite, Corpus) else "items",
        of=len(suite.documents if isinstance(suite, Corpus) else suite.items),
        judged=len(pieces),
        found=sum(hit > 0 for hit in hits),
        share=sum(hits) / runs if runs else 0.0,
    )


def _texts(suite: Suite) -> Iterator[str]:
    if isinstance(suite, Corpus):
        yield from suite.documents
        return
    for item in suite.items:
        # The right choice belongs to the question: the two together are what must not have been seen.
        gold = item.data["choices"][item.data["gold"]] if isinstance(suite, ChoiceTask) else ""
        yield f"{item.prompt} {gold}"


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _grams(words: list[str]) -> list[Gram]:
    length = min(LENGTH, len(words))
    return list(_runs(words, length))


def _runs(words: list[str], length: int) -> Iterator[Gram]:
    return zip(*(words[start:] for start in range(length)), strict=False)


def _seen(words: list[str], wanted: Iterable[Gram]) -> set[Gram]:
    """Those of the `wanted` runs that `words` hold."""
    by_length: dict[int, set[Gram]] = {}
    for gram in wanted:
        by_length.setdefault(len(gram), set()).add(gram)
    return {gram for length, grams in by_length.items() for gram in _runs(words, length) if gram in grams}
