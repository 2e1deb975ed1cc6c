"""Pareto frontiers that respect intervals: a point leaves the frontier only for a reason that is a finding.

With two or more axes, point i dominates point j when i is a finding better on one axis at least, and on no axis a
finding worse. A difference that is no finding neither helps nor hurts. Where an axis does not compare the two at all
(not measured, not the same work), nothing is said of the pair.

Findings are not transitive as numbers are: with A ~ B and B ~ C, A may still be a finding better than C. So chains of
dominance could in principle close to a ring, in which each point would push out the next and none be left. A
dominance within such a ring is void.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Axis", "Finding", "axis", "dominators"]

Finding = Literal[1, 0, -1]
"""Of i against j on one axis: a finding better, no finding, a finding worse."""

Axis = npt.NDArray[np.float64]
"""[n, n]: entry i, j is i against j; NaN where the two do not compare."""


def axis(count: int, compare: Callable[[int, int], Finding | None]) -> Axis:
    """The comparisons of `count` points on one axis; `compare` is asked once a pair, for i < j."""
    found = np.zeros((count, count))
    for i in range(count):
        for j in range(i + 1, count):
            finding = compare(i, j)
            found[i, j], found[j, i] = (np.nan, np.nan) if finding is None else (finding, -finding)
    return found


def dominators(axes: Sequence[Axis]) -> list[list[int]]:
    """For every point those that dominate it, in order; an empty list: the point is on the frontier.

    Raises `ValueError` without an axis or when two axes hold different numbers of points.
    """
    if not axes or any(a.shape != axes[0].shape for a in axes):
        raise ValueError("a frontier needs axes over the same points")
    stack = np.stack(axes)
    better = (stack == 1).any(axis=0) & (stack >= 0).all(axis=0)  # a comparison with NaN is false: nothing is said
    reach = better.copy()
    for middle in range(len(reach)):
        reach |= reach[:, middle : middle + 1] & reach[middle : middle + 1, :]
    better &= ~reach.T
    return [[int(i) for i in np.flatnonzero(better[:, j])] for j in range(better.shape[1])]
