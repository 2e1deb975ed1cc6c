"""Digits that the interval supports, and no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.report import figures
from quantcheck.report.summary import Figure


@pytest.mark.parametrize(
    ("value", "low", "high", "text", "band"),
    [
        (1.38123, 1.331, 1.428, "1.38x", "1.33 to 1.43"),
        (1.38123, 1.25, 1.51, "1.38x", "1.25 to 1.51"),
        (1.38123, 0.9, 1.9, "1.4x", "0.9 to 1.9"),
        (1.38123, 1.380, 1.382, "1.38x", "1.38 to 1.38"),  # never more than asked for
        (9.6, 2.0, 40.0, "10x", "0 to 40"),
    ],
)
def test_ratio_digits_follow_the_interval(value: float, low: float, high: float, text: str, band: str) -> None:
    figure = Figure(value=value, low=low, high=high)
    assert figures.ratio(figure) == text
    if high < 10:
        assert figures.interval(figure) == band


def test_points() -> None:
    change = Figure(value=-0.0031, low=-0.0088, high=0.0029)
    assert (figures.points(change), figures.points_interval(change)) == ("-0.3 pp", "-0.9 to +0.3")
    assert figures.points(Figure(value=0.0, low=-0.003, high=0.003)) == "0.0 pp"
    assert figures.points(Figure(value=-0.00001)) == "0.0 pp"
    assert figures.points(Figure(value=-0.182, low=-0.25, high=-0.11)) == "-18 pp"


def test_values_without_an_interval_show_four_digits_at_most() -> None:
    assert figures.value(Figure(value=0.0123456), "ttft") == "12.35 ms"
    assert figures.value(Figure(value=1.23456), "ttft") == "1,235 ms"
    assert figures.value(Figure(value=15_400_000), "weights_bytes") == "15.4 MB"
    assert figures.value(Figure(value=0.0), "kl_divergence") == "0 nats"
    assert figures.value(Figure(value=0.9862, low=0.9850, high=0.9874), "top1_agreement") == "98.62%"


def test_missing_says_why() -> None:
    gone = Figure(reason="the engine died")
    for render in (figures.ratio, figures.points, figures.percent, figures.missing):
        assert render(gone) == "n/a (the engine died)"
    assert figures.value(gone, "ttft") == "n/a (the engine died)"
    assert (figures.interval(gone), figures.points_interval(gone)) == ("", "")
    with pytest.raises(ValueError, match="needs a reason"):
        Figure()
    with pytest.raises(ValueError, match="two ends"):
        Figure(value=1.0, low=0.5)
    with pytest.raises(ValueError, match="finite"):
        Figure(value=float("nan"))


@pytest.mark.parametrize(("count", "text"), [(1, "1"), (87, "87"), (871, "880"), (900, "900"), (1_201, "1,300")])
def test_planned_numbers_are_rounded_up(count: int, text: str) -> None:
    assert figures.about(count) == text


@given(st.integers(1, 10**7))
def test_plans_never_round_down_nor_far_up(count: int) -> None:
    shown = int(figures.about(count).replace(",", ""))
    assert count <= shown <= 1.1 * count


def test_p_values() -> None:
    assert [figures.p_value(p) for p in (0.0499, 0.0004, 1.0, None)] == ["0.050", "<0.001", "1.000", "n/a"]


def test_rounding_never_hides_on_which_side_of_one_a_bound_lies() -> None:
    assert figures.interval(Figure(value=1.4, low=1.02, high=2.0)) == "1.02 to 2.00"
    assert figures.interval(Figure(value=1.4, low=0.97, high=2.0)) == "0.97 to 2.00"
    assert figures.interval(Figure(value=1.4, low=0.9, high=2.1)) == "0.9 to 2.1"
    assert figures.interval(Figure(value=1.4, low=1.001, high=2.0)) == "1.0 to 2.0"
