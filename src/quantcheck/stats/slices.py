"""Parts of a task (subject, length, language): which of many small effects to look at. Exploratory by nature.

Slices overlap and nobody planned for them, so no verdict rests on one. q-values keep the share of false findings among
those shown (Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57:289-300); with slices that overlap, and so depend on
one another positively, they still hold (Benjamini and Yekutieli 2001, Ann. Stat. 29:1165).
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["FEWEST_ITEMS", "benjamini_hochberg"]

FEWEST_ITEMS = 20
"""A slice with fewer is refused: no loss short of a disaster would show in it."""


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's step-up adjusted p-values ("q"), in the given order."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")[::-1]
    stepped = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(x) for x in adjusted]
