"""Checks of generated answers: each kind on a right and a wrong answer, and no text ever raises."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcheck.quality.answers import check_format, final_number, first_line

sys.path.append(str(Path(__file__).resolve().parents[2] / "reference"))

import formats


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" 14+54=68; 68-17=51\n", "51"),
        (" 14+54=68; 68-17=51. Answer: 51", "51"),
        ("3-4", "4"),
        ("the result is -4", "-4"),
        ("007", "7"),
        ("5.0", "5"),
        ("2.50", "2.5"),
        ("-0", "0"),
        ("51\nand then 9", "51"),
        ("\n\n 8", "8"),
        ("", None),
        ("none", None),
        ("a1b", None),
    ],
)
def test_final_number(text: str, number: str | None) -> None:
    assert final_number(text) == number


def test_only_the_first_line_counts() -> None:
    assert first_line("  a, b \nc") == "a, b"
    assert check_format(" a, b\nc", [{"kind": "equals", "text": "a, b"}]) == [True]


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ({"kind": "equals", "text": "a - b"}, "a - b", "a, b"),
        ({"kind": "starts", "text": "go, "}, "go, on", "on, go"),
        ({"kind": "ends", "text": ", on"}, "go, on", "on, go"),
        ({"kind": "count", "separator": ", ", "n": 2}, "a, b", "a, b, c"),
        ({"kind": "count", "separator": ", ", "n": 2}, "a, b", "a,b"),
        ({"kind": "members", "separator": "; ", "allowed": ["fig", "pear"]}, "#Fig; [PEAR]", "fig; plum"),
        ({"kind": "members", "separator": "numbered", "allowed": ["fig", "pear"]}, "1. fig 2. pear", "1. fig 2. x"),
        ({"kind": "distinct", "separator": "; "}, "fig; pear", "fig; FIG"),
        ({"kind": "case", "case": "upper"}, "FIG, 2", "FIG, pear"),
        ({"kind": "case", "case": "lower"}, "fig", "Fig"),
        ({"kind": "case", "case": "title"}, "Fig - Pear", "Fig - PEAR"),
        ({"kind": "wrapped", "left": "[", "right": "]"}, "[a b]", "[]"),
        ({"kind": "wrapped_each", "separator": " ", "left": "<", "right": ">"}, "<a> <b>", "<a> b"),
        ({"kind": "prefixed_each", "separator": ", ", "prefix": "#"}, "#a, #b", "#a, #"),
        ({"kind": "numbered", "n": 2}, "1. a 2. b", "1. a 3. b"),
        ({"kind": "numbered", "n": 2}, "1. a 2. b", "1. a 2. b 3. c"),
        ({"kind": "json", "keys": ["a", "b"]}, '{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
        ({"kind": "json_value", "key": "a", "value": 1}, '{"a": 1}', '{"a": "1"}'),
        ({"kind": "json_value", "key": "a", "value": 1}, '{"a": 1}', "[1]"),
    ],
)
def test_each_kind(check: dict[str, Any], right: str, wrong: str) -> None:
    assert check_format(right, [check]) == [True]
    assert check_format(wrong, [check]) == [False]


def test_an_unknown_kind_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="unknown check kind"):
        check_format("a", [{"kind": "poem"}])


@settings(max_examples=300, deadline=None)
@given(text=st.text(), seed=st.integers(0, 2**64))
def test_no_text_raises(text: str, seed: int) -> None:
    final_number(text)
    sample = formats.make(random.Random(seed))
    for answer in (text, sample.answer + text, text + sample.answer, sample.answer.replace(",", text[:2])):
        result = check_format(answer, sample.item["checks"])  # type: ignore[arg-type]
        assert all(isinstance(passed, bool) for passed in result)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_training_answers_pass_their_own_checks_and_others_do_not(seed: int) -> None:
    sample = formats.make(random.Random(seed))
    assert all(check_format(sample.answer + "\n", sample.item["checks"]))  # type: ignore[arg-type]
    assert not all(check_format(sample.answer + " and so on", sample.item["checks"]))  # type: ignore[arg-type]
