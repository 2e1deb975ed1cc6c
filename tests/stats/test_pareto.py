"""Frontiers: the textbook's when every difference is a finding, and nothing pushed out without one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.stats.pareto import Finding, axis, dominators


def exact(values: list[float]) -> np.ndarray:
    """An axis on which every difference is a finding and more is better."""

    def compare(i: int, j: int) -> Finding:
        return 1 if values[i] > values[j] else -1 if values[i] < values[j] else 0

    return axis(len(values), compare)


def textbook(points: list[tuple[float, ...]]) -> list[bool]:
    """On the frontier: no other point is as good on all axes and better on one."""
    return [
        not any(all(a >= b for a, b in zip(p, q, strict=True)) and p != q for p in points) for q in points
    ]


@given(st.lists(st.tuples(*[st.integers(0, 5).map(float)] * 3), min_size=1, max_size=9))
def test_with_exact_values_it_is_the_textbooks(points: list[tuple[float, ...]]) -> None:
    found = dominators([exact([p[k] for p in points]) for k in range(3)])
    assert [not by for by in found] == textbook(points)


def test_the_dominators_are_named() -> None:
    assert dominators([exact([1, 2, 3]), exact([1, 1, 2])]) == [[1, 2], [2], []]


def test_a_difference_that_is_no_finding_pushes_nothing_out() -> None:
    nothing = axis(3, lambda i, j: 0)
    assert dominators([nothing, nothing]) == [[], [], []]


def test_no_finding_on_one_axis_does_not_protect_from_the_other() -> None:
    assert dominators([axis(2, lambda i, j: 0), exact([1, 2])]) == [[1], []]


def test_a_finding_worse_protects() -> None:
    assert dominators([exact([2, 1]), exact([1, 2])]) == [[], []]


def test_points_that_do_not_compare_on_one_axis_leave_each_other_alone() -> None:
    assert dominators([exact([1, 2]), axis(2, lambda i, j: None)]) == [[], []]


def test_a_ring_of_findings_empties_no_frontier() -> None:
    # Point 0 beats 1, 1 beats 2, 2 beats 0; point 3 is beaten by 0 and in no ring.
    better = {(0, 1): 1, (1, 2): 1, (0, 2): -1, (0, 3): 1}
    ring = axis(4, lambda i, j: better.get((i, j), 0))  # type: ignore[arg-type,return-value]
    assert dominators([ring]) == [[], [], [], [0]]


def test_axes_must_hold_the_same_points() -> None:
    with pytest.raises(ValueError, match="same points"):
        dominators([])
    with pytest.raises(ValueError, match="same points"):
        dominators([exact([1, 2]), exact([1, 2, 3])])
