"""A suite scored in parts: where it may be cut, what one part holds, and what a cell says of all parts together.

A suite that is scored in one go is one part, so its figures come from the same lines (`figures`). A suite is cut only
where a scorer begins a new batch anyway: then every answer and every logit is, bit for bit, that of the uncut suite.
"""

import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.quality.corpus import kl_kind
from quantcheck.quality.perplexity import TokenScores
from quantcheck.quality.worst import WORST

__all__ = ["Part", "Span", "Table", "Unit", "figures", "joined", "pieces", "shares", "uncut"]

Table = dict[str, NDArray[Any]]
Span = tuple[int, int]
"""Items of a task or windows of a corpus, from the first place to the second, which is not included."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What is not cut: items or windows `begin` to `end` (not included) of a suite; `work` in tokens, about."""

    suite: str
    begin: int
    end: int
    work: float


def pieces(suite: str, starts: Iterable[int], work: Sequence[float]) -> list[Unit]:
    """Units that begin at `starts` (ascending, the first 0); `work` of each item or window."""
    return [Unit(suite, begin, end, sum(work[begin:end])) for begin, end in pairwise([*starts, len(work)])]


def shares(units: Sequence[Unit], count: int) -> list[dict[str, Span]]:
    """Up to `count` shares of about equal work, each with its spans by suite; together they have every unit once."""
    total = sum(unit.work for unit in units)
    found: list[dict[str, Span]] = [{} for _ in range(count)]
    before = 0.0
    for unit in units:
        middle = (before + unit.work / 2) / total
        before += unit.work
        share = found[min(int(middle * count), count - 1)]
        begin, _ = share.get(unit.suite, (unit.begin, 0))
        share[unit.suite] = begin, unit.end
    return [share for share in found if share]


def uncut(units: Iterable[Unit], suites: Collection[str]) -> list[Unit]:
    """`units`, with one only of each of `suites`."""
    found: list[Unit] = []
    for unit in units:
        if found and found[-1].suite == unit.suite and unit.suite in suites:
            first = found.pop()
            unit = Unit(unit.suite, first.begin, unit.end, first.work + unit.work)
        found.append(unit)
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """Items or windows `begin` to `end` of the `of` that the suite has.

    `facts` are those of the whole suite. `table`: rows to be stored. `beside`: arrays that figures are made of and
    nothing else. `worst`: the tokens furthest from the baseline, in words.
    """

    begin: int
    end: int
    of: int
    facts: Mapping[str, Any]
    table: Table
    beside: Table = field(default_factory=dict)
    worst: Sequence[Mapping[str, Any]] | None = None

    def packed(self) -> bytes:
        """As one .npz file."""
        told = {"begin": self.begin, "end": self.end, "of": self.of, "facts": self.facts, "worst": self.worst}
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, told=np.array(json.dumps(told)),
                 **{f"table:{name}": column for name, column in self.table.items()},
                 **{f"beside:{name}": column for name, column in self.beside.items()})
        return file.getvalue()

    @staticmethod
    def unpacked(content: bytes) -> "Part":
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Part(**json.loads(str(arrays["told"])), table=dict(_named(arrays, "table:")),
                        beside=dict(_named(arrays, "beside:")))


def _named(arrays: Mapping[str, NDArray[Any]], kind: str) -> Iterator[tuple[str, NDArray[Any]]]:
    for name in arrays:
        if name.startswith(kind):
            yield name.removeprefix(kind), arrays[name]


def joined(parts: Iterable[Part]) -> Part | None:
    """The whole suite from all its parts, whatever their order; None while one is missing.

    Raises `ValueError` for parts of unlike suites, or that overlap.
    """
    ordered = sorted(parts, key=lambda part: part.begin)
    first = ordered[0]
    for part, after in pairwise(ordered):
        if (after.of, after.facts) != (first.of, first.facts) or after.begin < part.end:
            raise ValueError("these are not parts of one suite")
    if sum(part.end - part.begin for part in ordered) < first.of:
        return None
    worst = None if first.worst is None else sorted(
        (token for part in ordered for token in part.worst or ()), key=lambda token: -token["kl_divergence"])[:WORST]
    return Part(0, first.of, first.of, first.facts, _stacked([part.table for part in ordered]),
                _stacked([part.beside for part in ordered]), worst)


def _stacked(tables: Sequence[Table]) -> Table:
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def figures(part: Part) -> tuple[dict[str, Any], Table]:
    """The result of a whole suite as a cell holds it, and its table."""
    facts, table = dict(part.facts), part.table
    if facts["kind"] == "perplexity":
        scores = TokenScores(
            table["document"], table["nll"], table.get("kl"), table.get("top1"), table["confidence"],
            facts.pop("top_k"), kl_error=part.beside.get("error"), kl_gaps=part.beside.get("gaps"),
        )  # fmt: skip
        return {
            "kind": facts.pop("kind"),
            "tokens": len(scores.nll),
            "documents": int(scores.document.max()) + 1,
            "context": facts.pop("context"),
            "stride": facts.pop("stride"),
            "nll_mean": float(scores.nll.mean()),
            "perplexity": scores.perplexity,
            "kl_divergence": None if scores.kl is None else float(scores.kl.mean()),
            "top1_agreement": None if scores.top1 is None else float(scores.top1.mean()),
            **kl_kind(scores),
            **({} if part.worst is None else {"worst_tokens": list(part.worst)}),
            **facts,
        }, table
    if facts["kind"] == "continuations":
        written = sum(len(str(tokens).split()) for tokens in table["tokens"].tolist())
        return {"kind": facts.pop("kind"), "n": len(table["id"]), "tokens": written, **facts}, table
    draws = facts["sampling"]["draws"] if "sampling" in facts else 1
    return {"kind": facts.pop("kind"), "n": len(table["right"]) // draws, "accuracy": float(table["right"].mean()),
            **facts}, table
