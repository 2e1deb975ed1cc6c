"""Figures as text: digits that the interval supports, and `n/a (reason)` for what is missing.

A figure with an interval gets the decimals at which the interval's half width shows one significant digit
(two when it starts with 1 or 2), and never more than its metric's own. Plain ASCII throughout.
"""

import math
from collections.abc import Sequence

from quantcheck.metrics import metric
from quantcheck.report.summary import Figure

__all__ = [
    "about",
    "interval",
    "missing",
    "p_value",
    "percent",
    "points",
    "points_interval",
    "ratio",
    "shared_decimals",
    "value",
]

MOST_DIGITS = 4
"""Significant digits of a figure without an interval."""


def decimals(figure: Figure, most: int, scale: float = 1.0) -> int:
    """Decimals to show `figure` with, at most `most`."""
    if figure.value is None:
        return most
    if figure.low is None or figure.high is None:
        size = abs(figure.value * scale)
        return most if size < 1 else min(most, max(0, MOST_DIGITS - 1 - math.floor(math.log10(size))))
    half = (figure.high - figure.low) / 2 * scale
    if half <= 0:
        return most
    exponent = math.floor(math.log10(half))
    wanted = -exponent + (1 if half / 10.0**exponent < 3 else 0)
    return min(most, max(0, wanted))


def missing(figure: Figure) -> str:
    """`n/a (reason)`."""
    return f"n/a ({figure.reason})"


def value(figure: Figure, key: str, *, unit: bool = True, digits: int | None = None) -> str:
    """A figure of the metric `key` in its shown unit, with the decimals that it supports or with `digits`."""
    if figure.value is None:
        return missing(figure)
    of = metric(key)
    shown = decimals(figure, of.digits, of.scale) if digits is None else digits
    if figure.value == 0:
        shown = 0  # exactly none, not a small number rounded
    text = f"{figure.value * of.scale:,.{shown}f}"
    if not unit or not of.unit:
        return text
    return f"{text}%" if of.unit == "%" else f"{text} {of.unit}"


def shared_decimals(column: Sequence[Figure], key: str) -> int:
    """Decimals that every figure of a column supports."""
    of = metric(key)
    return min((decimals(f, of.digits, of.scale) for f in column if f.value is not None), default=of.digits)


def ratio(figure: Figure, most: int = 2) -> str:
    """`1.38x`."""
    if figure.value is None:
        return missing(figure)
    return "1x" if figure.value == 1 else f"{figure.value:.{decimals(figure, most)}f}x"


def interval(figure: Figure, most: int = 2, join: str = " to ") -> str:
    """The interval of a ratio, `1.33 to 1.43`; empty when there is none."""
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return ""
    digits = decimals(figure, most)
    # Which side of 1 a bound lies on decides the verdict: rounding must not hide it.
    while digits < most and any(round(bound, digits) == 1 != round(bound, most) for bound in (figure.low, figure.high)):
        digits += 1
    return f"{figure.low:.{digits}f}{join}{figure.high:.{digits}f}"


def points(figure: Figure) -> str:
    """A change of accuracy (a fraction) as `-0.3 pp`."""
    if figure.value is None:
        return missing(figure)
    return f"{_signed(figure.value, decimals(figure, 1, 100.0))} pp"


def points_interval(figure: Figure) -> str:
    """`-0.9 to +0.3`; empty when there is no interval."""
    if figure.low is None or figure.high is None:
        return ""
    digits = decimals(figure, 1, 100.0)
    return f"{_signed(figure.low, digits)} to {_signed(figure.high, digits)}"


def _signed(fraction: float, digits: int) -> str:
    text = f"{fraction * 100:+.{digits}f}"
    return text if any(c in "123456789" for c in text) else text[1:]  # no sign on zero


def percent(figure: Figure, digits: int = 1) -> str:
    """A share as `91.2%`."""
    return missing(figure) if figure.value is None else f"{figure.value * 100:.{digits}f}%"


def p_value(p: float | None) -> str:
    """Three decimals, or `<0.001`."""
    if p is None:
        return "n/a"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def about(count: int) -> str:
    """A planned number to two significant digits, rounded up: `900`, `1,300`."""
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // step) * step:,}"
