"""From a judge's answers to a preference with an interval and a word."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from quantcheck.report.quality import figure
from quantcheck.report.row import Figure, QualityWord, Row
from quantcheck.stats import t_interval

__all__ = ["Answer", "JudgeReport", "JudgedRow", "judged_row"]

FEWEST = 10
"""Pairs below which no word is given."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One question to the judge: of which pair, which text stood first, and whom it preferred; None: it did not say.

    `text` is all that it wrote.
    """

    pair: str
    first: Literal["baseline", "variant"]
    preferred: Literal["baseline", "variant", "neither"] | None
    text: str


class JudgedRow(Row):
    """One variant. A pair's value is the mean of its answers: 1 where the variant was preferred, -1 where the baseline
    was, 0 for neither. Equal texts are 0 and are not asked about."""

    variant: str
    pairs: int
    same: int = Field(description="pairs of equal texts")
    unclear: int = Field(description="answers that said nothing usable, left out")
    unjudged: int = Field(description="pairs without a usable answer, left out")
    preference: Figure = Field(description="mean over pairs, -1 to 1; below 0 the baseline is preferred")
    wins: int
    losses: int
    first_preferred: Figure = Field(description="share of the decided answers that preferred the text that stood "
                                                "first; 0.5 is a judge that does not look at the order")
    consistent: Figure = Field(description="share of pairs in which both orders preferred the same, or neither")
    margin: float
    word: QualityWord | None
    reason: str | None = None


class JudgeReport(Row):
    """All that was asked of one judge about one run; `answers` holds every answer."""

    schema_version: Literal[1] = 1
    run: str
    baseline: str
    judge: str
    url: str
    repeats: int
    temperature: float
    instruction_sha256: str
    rows: list[JudgedRow]
    answers: dict[str, list[dict[str, str | None]]]


def judged_row(
    variant: str, ids: Sequence[str], same: Sequence[str], answers: Sequence[Answer], margin: float
) -> JudgedRow:
    """What `answers` say about `variant`; `ids` are all pairs, `same` those of equal texts.

    The interval is Student's over pairs: answers about one pair are no sample of prompts. `harmed`: its upper end is
    below 0; `safe`: its lower end is above -`margin`.
    """
    value = {"variant": 1.0, "baseline": -1.0, "neither": 0.0}
    by_pair: dict[str, list[float]] = defaultdict(list)
    by_order: dict[tuple[str, str], list[float]] = defaultdict(list)
    first = []
    for answer in answers:
        if answer.preferred is None:
            continue
        by_pair[answer.pair].append(value[answer.preferred])
        by_order[answer.pair, answer.first].append(value[answer.preferred])
        if answer.preferred != "neither":
            first.append(answer.preferred == answer.first)
    means = {pair: float(np.mean(values)) for pair, values in by_pair.items()}
    values = np.array([0.0 if id in same else means[id] for id in ids if id in same or id in means])
    both = [pair for pair in means if (pair, "baseline") in by_order and (pair, "variant") in by_order]
    agree = [bool(np.sign(np.mean(by_order[pair, "baseline"])) == np.sign(np.mean(by_order[pair, "variant"])))
             for pair in both]
    preference = (figure(t_interval(values, unit="pair")) if len(values) > 1
                  else Figure(reason="fewer than two pairs were judged"))
    word, reason = _word(preference, len(values), margin)
    return JudgedRow(
        variant=variant, pairs=len(ids), same=len(same), unclear=sum(answer.preferred is None for answer in answers),
        unjudged=len(ids) - len(values), preference=preference, wins=int((values > 0).sum()),
        losses=int((values < 0).sum()), first_preferred=_share(first), consistent=_share(agree), margin=margin,
        word=word, reason=reason,
    )


def _share(values: Sequence[bool]) -> Figure:
    return Figure(value=float(np.mean(values))) if values else Figure(reason="no pair was decided")


def _word(preference: Figure, judged: int, margin: float) -> tuple[QualityWord | None, str | None]:
    if judged < FEWEST or preference.low is None or preference.high is None:
        return None, f"{judged} pairs were judged; a word takes {FEWEST}"
    if preference.high < 0:
        return "harmed", None
    return ("safe" if preference.low > -margin else "inconclusive"), None
