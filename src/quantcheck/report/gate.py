"""The gate: one word for CI out of a summary's decisions, with what it rests on."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from quantcheck.errors import SpecError
from quantcheck.report.row import Row
from quantcheck.report.summary import DecisionRow, DecisionWord, Summary

__all__ = ["EXIT_CODES", "GateResult", "gate_lines", "judge_gate"]

EXIT_CODES: dict[DecisionWord, int] = {"ship": 0, "do not ship": 1, "inconclusive": 2}


class GateResult(Row):
    """What `quantcheck gate --json` writes."""

    schema_version: Literal[1] = 1
    experiment: str
    baseline: str
    word: DecisionWord
    exit_code: Literal[0, 1, 2]
    variant: str | None = Field(description="the one that was asked for, or may ship; null: none of `decisions` may")
    sentence: str
    policy: str | None = Field(description="the policy's file; null: the experiment's own")
    decisions: list[DecisionRow] = Field(description="those that the word rests on")
    sources: dict[str, Any] = Field(description="what these decisions point at, under this policy, by pointer")


def judge_gate(summary: Summary, variant: str | None = None, *, policy: str | None = None) -> GateResult:
    """The word for `variant`; for none of them by name: `ship` when one at least may, else the best that there is.

    Of several that may ship it takes the recommended one, else the smallest. Where none may, the word is
    `do not ship` if that holds for every one of them, and else `inconclusive`. Raises `SpecError` for a name that
    is no variant, or is the baseline's.
    """
    rows = summary.decisions
    baseline = summary.experiment.baseline
    if variant is not None:
        rows = [row for row in rows if row.variant == variant]
        if not rows:
            known = ", ".join(row.variant for row in summary.decisions) or "none"
            what = "is the baseline, what the others are held against" if variant == baseline else "is no variant here"
            raise SpecError(f"--variant {variant}: {what}; give one of: {known}")
    chosen = variant or _chosen(summary, rows)
    if chosen is not None:
        rows = [row for row in rows if row.variant == chosen]
        word: DecisionWord = rows[0].word
    else:
        word = "do not ship" if rows and all(row.word == "do not ship" for row in rows) else "inconclusive"
    code = EXIT_CODES[word]
    assert code in (0, 1, 2)
    return GateResult(
        experiment=summary.experiment.name, baseline=baseline, word=word, exit_code=code, variant=chosen,
        sentence=rows[0].sentence if chosen else summary.recommendation.sentence, policy=policy, decisions=list(rows),
        sources=_sources(summary, rows),
    )  # fmt: skip


def _sources(summary: Summary, rows: Sequence[DecisionRow]) -> dict[str, Any]:
    """Another policy gives other rows than those in the folder's summary.json: what is pointed at is handed over."""
    document = summary.model_dump(mode="json")
    pointers = [clause.source for row in rows for clause in row.clauses]
    pointers += [condition.source for row in rows for condition in row.conditions]
    return {pointer: _resolve(document, pointer) for pointer in dict.fromkeys(pointers)}


def _resolve(document: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _chosen(summary: Summary, rows: Sequence[DecisionRow]) -> str | None:
    """Which of several stands for all; None where none may ship and there is more than one."""
    may = [row.variant for row in rows if row.word == "ship"]
    if summary.recommendation.variant in may:
        return summary.recommendation.variant
    if may:
        sizes = {row.name: row.size.bytes.value or float("inf") for row in summary.variants}
        return min(may, key=lambda name: sizes[name])
    return rows[0].variant if len(rows) == 1 else None


def gate_lines(result: GateResult) -> list[str]:
    """The word, the sentence, and every condition, as a log of CI shows them."""
    about = f"{result.variant}: {result.word}" if result.variant else f"{result.word}: no variant may ship"
    lines = [about, result.sentence]
    for row in result.decisions:
        if result.variant is None:
            lines.append(f"{row.variant}: {row.word}")
        lines += [f"  {c.state:<8} {c.key}: {c.asks}; {c.found}" for c in row.conditions]
    return lines
