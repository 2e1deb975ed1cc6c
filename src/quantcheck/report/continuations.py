"""What variants write after the same prompts, beside what the baseline writes: greedy, token by token."""

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantcheck.report.cells import Cell, CellIndex
from quantcheck.report.damage import within
from quantcheck.report.pairs import unlike_hashes
from quantcheck.report.quality import figure
from quantcheck.report.summary import ChangedRow, ContinuationRow, Figure
from quantcheck.stats import ratio_of_sums, t_interval
from quantcheck.stats.samples import quantile_interval, share_interval

__all__ = ["MOST_CHANGED", "changed_rows", "continuation_rows"]

MOST_CHANGED = 10
PROMPT_CHARACTERS = 400
TEXT_CHARACTERS = 4000
COMPARED_TOKENS = 256
"""Matching blocks take the square of this, and models that fall into a loop are the worst case."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """One prompt and its two continuations, the baseline's first."""

    id: str
    prompt: str
    texts: tuple[str, str]
    tokens: tuple[list[int], list[int]]

    @property
    def same(self) -> int:
        """Tokens before the first other one."""
        return _common_prefix(*self.tokens)

    @property
    def changed(self) -> bool:
        return self.tokens[0] != self.tokens[1]

    @property
    def common(self) -> float:
        ours, theirs = (tokens[:COMPARED_TOKENS] for tokens in self.tokens)
        return difflib.SequenceMatcher(None, ours, theirs, autojunk=False).ratio()


def continuation_rows(index: CellIndex) -> list[ContinuationRow]:
    """One row a variant, but the baseline; none where no continuations were asked for."""
    if index.continuations is None:
        return []
    noise = _row(index, index.again).agreement if index.experiment.noise_floor else None
    rows = [_row(index, variant) for variant in index.variants if variant != index.baseline]
    return rows if noise is None else [row.model_copy(update={"noise": noise}) for row in rows]


def changed_rows(index: CellIndex, variant: str) -> list[ChangedRow]:
    """The prompts whose continuations have least in common with the baseline's; those that are the same are left out.

    Of equally changed ones the earliest divergence comes first.
    """
    pairs = [] if index.continuations is None or variant == index.baseline else _pairs(index, variant)
    if isinstance(pairs, str):
        return []
    changed = sorted((pair for pair in pairs if pair.changed), key=lambda pair: (pair.common, pair.same))
    return [
        ChangedRow(
            variant=variant, rank=rank, id=pair.id, prompt=pair.prompt[-PROMPT_CHARACTERS:],
            baseline_text=pair.texts[0][:TEXT_CHARACTERS], variant_text=pair.texts[1][:TEXT_CHARACTERS],
            first_divergence=pair.same,
            character=_common_prefix(*pair.texts), common=pair.common,
            baseline_tokens=len(pair.tokens[0]), variant_tokens=len(pair.tokens[1]),
        )
        for rank, pair in enumerate(changed[:MOST_CHANGED], 1)
    ]  # fmt: skip


def _row(index: CellIndex, variant: str) -> ContinuationRow:
    pairs = _pairs(index, variant)
    if isinstance(pairs, str):
        gone = Figure(reason=pairs)
        return ContinuationRow(variant=variant, prompts=0, max_tokens=None, agreement=gone, first_divergence=gone,
                               same_share=gone, length_ratio=gone, reason=pairs)
    cell = index.quality(variant, index.continuations or "")
    assert cell is not None
    ours, theirs = (np.array([len(pair.tokens[side]) for pair in pairs], dtype=np.float64) for side in (0, 1))
    changed = np.array([pair.same for pair in pairs if pair.changed], dtype=np.float64)
    longest = np.maximum(np.maximum(ours, theirs), 1)
    same = np.array([1.0 if not pair.changed else pair.same for pair in pairs])
    same = np.where([pair.changed for pair in pairs], same / longest, 1.0)
    return ContinuationRow(
        variant=variant,
        prompts=len(pairs),
        max_tokens=cell.record["result"].get("max_tokens"),
        agreement=figure(share_interval(len(pairs) - len(changed), len(pairs))),
        first_divergence=figure(quantile_interval(changed, 0.5, unit="changed prompt")) if len(changed)
        else Figure(reason="no continuation changed"),
        same_share=within(figure(t_interval(same, unit="prompt")), 0.0, 1.0),
        length_ratio=figure(ratio_of_sums(theirs, ours, unit="prompt")) if ours.sum() > 0
        else Figure(reason="the baseline wrote nothing"),
    )


def _pairs(index: CellIndex, variant: str) -> list[_Pair] | str:
    """Every prompt's two continuations; a sentence where they cannot be paired."""
    subject = index.continuations or ""
    ours, theirs = index.quality(index.baseline, subject), index.quality(variant, subject)
    if ours is None:
        return f"baseline: {index.missing(index.baseline, subject)}"
    if theirs is None:
        return index.missing(variant, subject)
    unlike = unlike_hashes(ours, theirs)
    if unlike:
        return unlike
    base, other = _texts(ours), _texts(theirs)
    if base.keys() != other.keys() or not base:
        return "the two were not given the same prompts"
    return [_Pair(id, base[id][0], (base[id][1], other[id][1]), (base[id][2], other[id][2])) for id in base]


def _texts(cell: Cell) -> dict[str, tuple[str, str, list[int]]]:
    """(prompt, text, token ids) by the prompt's id."""
    table = cell.table("items")
    columns = (np.asarray(table[name]).astype(str).tolist() for name in ("id", "prompt", "output", "tokens"))
    return {id: (prompt, text, [int(token) for token in tokens.split()])
            for id, prompt, text, tokens in zip(*columns, strict=True)}


def _common_prefix(first: Any, second: Any) -> int:
    """How many leading elements of two sequences are equal."""
    both = zip(first, second, strict=False)
    return next((at for at, (one, other) in enumerate(both) if one != other), min(len(first), len(second)))
