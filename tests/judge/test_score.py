"""Answers of a judge to a preference and a word."""

import numpy as np
import pytest
from scipy import stats

from quantcheck.judge import Answer, judged_row

IDS = [str(number) for number in range(20)]


def both(pair: str, preferred: str, times: int = 2) -> list[Answer]:
    return [Answer(pair, first, preferred, "") for _ in range(times)  # type: ignore[arg-type]
            for first in ("baseline", "variant")]


def test_the_interval_is_over_pairs_and_equal_texts_are_draws() -> None:
    answers = [answer for number in range(12) for answer in both(IDS[number], "baseline" if number < 9 else "variant")]
    row = judged_row("v", IDS, IDS[12:], answers, 0.1)
    values = np.array([-1.0] * 9 + [1.0] * 3 + [0.0] * 8)
    low, high = stats.t.interval(0.95, 19, values.mean(), stats.sem(values))
    assert (row.preference.value, row.preference.low, row.preference.high) == pytest.approx((values.mean(), low, high))
    assert (row.wins, row.losses, row.same, row.unjudged, row.unclear) == (3, 9, 8, 0, 0)
    assert (row.first_preferred.value, row.consistent.value) == (0.5, 1.0)
    more = judged_row("v", IDS, IDS[12:], [a for a in answers for _ in range(5)], 0.1)
    assert more.preference == row.preference  # more answers about a pair are no more pairs


@pytest.mark.parametrize(("preferred", "same", "word"), [
    ("baseline", 0, "harmed"), ("variant", 0, "safe"), ("neither", 0, "safe"), ("baseline", 19, "inconclusive"),
])
def test_the_word(preferred: str, same: int, word: str) -> None:
    answers = [answer for pair in IDS[same:] for answer in both(pair, preferred)]
    assert judged_row("v", IDS, IDS[:same], answers, 0.1).word == word


def test_a_judge_that_takes_the_first_shows_it_and_decides_nothing() -> None:
    answers = [Answer(pair, first, first, "") for pair in IDS for first in ("baseline", "variant")]  # type: ignore[arg-type]
    row = judged_row("v", IDS, [], answers, 0.1)
    assert (row.preference.value, row.first_preferred.value, row.consistent.value) == (0.0, 1.0, 0.0)


def test_answers_that_say_nothing_are_left_out_and_counted() -> None:
    answers = [*both("0", "variant"), Answer("1", "baseline", None, "hm")]
    row = judged_row("v", IDS[:2], [], answers, 0.1)
    assert (row.unclear, row.unjudged, row.word) == (1, 1, None)
    assert row.preference.reason == "fewer than two pairs were judged"
    assert row.reason == "1 pairs were judged; a word takes 10"
