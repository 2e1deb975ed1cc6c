"""The pairs of texts of a stored run: what the baseline wrote, and what a variant did, after the same prompt."""

from dataclasses import dataclass

import numpy as np

from quantcheck.errors import SpecError
from quantcheck.report.cells import Cell, CellIndex
from quantcheck.report.pairs import unlike_hashes

__all__ = ["TextPair", "pairs_of"]


@dataclass(frozen=True, slots=True)
class TextPair:
    """`id` is the prompt's."""

    id: str
    prompt: str
    baseline: str
    variant: str


def pairs_of(index: CellIndex, variant: str, limit: int | None = None) -> list[TextPair]:
    """All prompts with both texts, in the order of the run, `limit` at most.

    Raises `SpecError` where the run has no continuations, or the two were not given the same prompts.
    """
    subject = index.continuations
    if subject is None:
        raise SpecError("the run holds no texts to judge: give its experiment `quality: {continuations: {}}`")
    cells = [index.quality(entry, subject) for entry in (index.baseline, variant)]
    if cells[0] is None or cells[1] is None:
        raise SpecError(f"{variant}: there are no texts ({index.missing(variant, subject)}); run the experiment again")
    if unlike := unlike_hashes(cells[0], cells[1]):
        raise SpecError(f"{variant}: cannot be judged against {index.baseline}: {unlike}")
    ours, theirs = _texts(cells[0]), _texts(cells[1])
    found = [TextPair(id, prompt, text, theirs[id][1]) for id, (prompt, text) in ours.items() if id in theirs]
    return found[:limit]


def _texts(cell: Cell) -> dict[str, tuple[str, str]]:
    table = cell.table("items")
    columns = (np.asarray(table[name]).astype(str).tolist() for name in ("id", "prompt", "output"))
    return {id: (prompt, text) for id, prompt, text in zip(*columns, strict=True)}
