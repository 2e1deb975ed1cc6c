"""Where a variant's distribution moved: by place in the document, by the baseline's confidence, by document.

All of it comes from the tokens that are stored with each cell; the worst tokens were picked while they were scored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quantcheck.report.cells import CellIndex
from quantcheck.report.pairs import unlike_hashes
from quantcheck.report.quality import figure
from quantcheck.report.summary import DamageRow, Figure, WorstTokenRow
from quantcheck.stats import ratio_of_sums, token_units
from quantcheck.stats.samples import quantile_interval

__all__ = ["damage_rows", "within", "worst_token_rows"]

POSITIONS = (1, 16, 64, 256, 1024, 4096, 16384)
"""Lower ends of the bins by position; the first token of a document is never scored."""
CONFIDENCES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
QUANTILES = {0.5: "median", 0.9: "90% of the documents"}
WORST_DOCUMENTS = 5
RANGES = {"kl_divergence": (0.0, np.inf), "top1_agreement": (0.0, 1.0), "nll_change": (-np.inf, np.inf)}
ALONE = "one document: nothing tells how far another one would be"

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Tokens:
    """One corpus, one variant; all arrays [tokens]. `unit`: what intervals rest on, and its number for each token."""

    corpus: str
    variant: str
    document: npt.NDArray[np.integer]
    member: npt.NDArray[np.integer]
    unit: str
    values: dict[str, FloatArray]
    confidence: npt.NDArray[np.floating] | None

    @property
    def position(self) -> npt.NDArray[np.integer]:
        """Every token of a document but its first is scored, once and in order."""
        _, first, counts = np.unique(self.document, return_index=True, return_counts=True)
        place: npt.NDArray[np.integer] = np.arange(len(self.document)) - np.repeat(first, counts) + 1
        return place


def damage_rows(index: CellIndex, variant: str) -> list[DamageRow]:
    """The parts of every corpus of one variant; none for the baseline, nor where the two cannot be compared."""
    if variant == index.baseline:
        return []
    read = [_read(index, corpus, variant) for corpus in index.corpora]
    return [row for tokens in read if tokens is not None for row in _rows(tokens)]


def worst_token_rows(index: CellIndex, variant: str) -> list[WorstTokenRow]:
    """The tokens with the largest divergence, the largest first, of every corpus of one variant."""
    rows: list[WorstTokenRow] = []
    for corpus in index.corpora if variant != index.baseline else ():
        cell = index.quality(variant, corpus)
        found = [] if cell is None else cell.record["result"].get("worst_tokens", [])
        rows += [WorstTokenRow(corpus=corpus, variant=variant, rank=at, **token) for at, token in enumerate(found, 1)]
    return rows


def _read(index: CellIndex, corpus: str, variant: str) -> _Tokens | None:
    """None where a row among the corpora says what is missing."""
    ours, theirs = index.quality(index.baseline, corpus), index.quality(variant, corpus)
    if ours is None or theirs is None or unlike_hashes(ours, theirs):
        return None
    base, other = ours.table("tokens"), theirs.table("tokens")
    document = np.asarray(other["document"])
    if "kl" not in other or not np.array_equal(base["document"], document):
        return None
    units = token_units(document)
    values = {
        "kl_divergence": np.asarray(other["kl"], dtype=np.float64),
        "top1_agreement": np.asarray(other["top1"], dtype=np.float64),
        "nll_change": np.asarray(other["nll"], dtype=np.float64) - np.asarray(base["nll"], dtype=np.float64),
    }
    confidence = np.asarray(base["confidence"]) if "confidence" in base else None
    return _Tokens(corpus, variant, document, units.member, units.kind, values, confidence)


def _rows(tokens: _Tokens) -> Iterator[DamageRow]:
    position = tokens.position
    ends: list[int | None] = [*POSITIONS[1:], None]
    for low, high in zip(POSITIONS, ends, strict=True):
        last = int(position.max()) if high is None else min(high - 1, int(position.max()))
        inside = (position >= low) & (position <= last)
        yield from _part(tokens, "position", f"tokens {low} to {last}", low, high, inside)
    if tokens.confidence is not None:
        for least, most in zip(CONFIDENCES, [*CONFIDENCES[1:], 1.0], strict=True):
            inside = (tokens.confidence >= least) & ((tokens.confidence < most) | (most == 1.0))
            yield from _part(tokens, "confidence", f"{least:g} to {most:g}", least, most, inside)
    yield from _documents(tokens)


def _part(
    tokens: _Tokens, by: str, part: str, low: float, high: float | None, inside: BoolArray
) -> Iterator[DamageRow]:
    """The row of one bin, unless it is empty."""
    if not inside.any():
        return
    _, member = np.unique(tokens.member[inside], return_inverse=True)
    counts = np.bincount(member).astype(np.float64)
    means = {
        name: within(figure(ratio_of_sums(
            np.bincount(member, weights=values[inside]).astype(np.float64), counts, unit=tokens.unit)), *RANGES[name])
        for name, values in tokens.values.items()
    }  # fmt: skip
    documents = len(np.unique(tokens.document[inside]))
    yield _row(tokens, by, part, low, high, (int(inside.sum()), documents), means, inside)


def within(found: Figure, least: float, most: float) -> Figure:
    """The figure with its interval cut to the values that the quantity can have: few units make it wider."""
    if found.low is None or found.high is None:
        return found
    return found.model_copy(update={"low": max(found.low, least), "high": min(found.high, most)})


def _documents(tokens: _Tokens) -> Iterator[DamageRow]:
    """Quantiles over documents' own means, then the documents with the largest divergence."""
    names, member, counts = np.unique(tokens.document, return_inverse=True, return_counts=True)
    means = {name: np.bincount(member, weights=values) / counts for name, values in tokens.values.items()}
    for quantile, words in QUANTILES.items() if len(names) > 1 else ():
        figures = {name: figure(quantile_interval(values, quantile)) for name, values in means.items()}
        yield _row(tokens, "document quantile", words, quantile, quantile, (len(member), len(names)), figures, None)
    for at in np.argsort(-means["kl_divergence"], kind="stable")[:WORST_DOCUMENTS]:
        name = int(names[at])
        figures = {key: Figure(value=float(values[at]), reason=ALONE) for key, values in means.items()}
        yield _row(tokens, "worst document", f"document {name}", name, name, (int(counts[at]), 1), figures,
                   member == at)


def _row(
    tokens: _Tokens, by: str, part: str, low: float, high: float | None, size: tuple[int, int],
    figures: dict[str, Figure], inside: BoolArray | None,
) -> DamageRow:
    kl = tokens.values["kl_divergence"]
    share = None if inside is None or kl.sum() <= 0 else float(kl[inside].sum() / kl.sum())
    fields: dict[str, Any] = {"by": by, "part": part, "low": low, "high": high, "kl_share": share, **figures}
    return DamageRow(corpus=tokens.corpus, variant=tokens.variant, tokens=size[0], documents=size[1], **fields)
