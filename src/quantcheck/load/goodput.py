"""Which requests met the SLO, and how sure their share is.

A request meets it when it ended well and every limit that the SLO names held: TTFT, mean time per token (TPOT; an
answer of one token has none and cannot break it), end to end. In an open loop TTFT and end to end count from the
intended send time: a request that waited because an earlier one was slow has waited. A failed request never meets it.
"""

from typing import Any

import numpy as np

from quantcheck.load.columns import BoolArray, Columns
from quantcheck.load.intervals import wilson
from quantcheck.spec.load import SLO

__all__ = ["attainment", "meets"]


def meets(load: Columns, slo: SLO) -> BoolArray:
    """bool[n]: which requests of `load`, of all phases, met `slo`."""
    start = load.due if load.open_loop else load.sent
    start = np.where(start < 0, load.sent, start)  # a warm-up request before the schedule began
    gaps = load.tokens - 1
    good = load.ok.copy()
    if slo.ttft_ms is not None:
        good &= load.first - start <= slo.ttft_ms * 1e6
    if slo.itl_ms is not None:
        good &= load.end - load.first <= slo.itl_ms * 1e6 * gaps
    if slo.e2e_ms is not None:
        good &= load.end - start <= slo.e2e_ms * 1e6
    return good


def attainment(met: BoolArray, slo: SLO) -> dict[str, Any]:
    """The `slo` of a result: its limits, how many of the window's requests `met` it, with Wilson's interval.

    `holds` compares the share with the SLO's own; `settled` says whether the whole interval lies on that side. Both are
    None without requests. The interval takes requests as independent; near capacity they are not, and it is too narrow.
    """
    good, total = int(met.sum()), len(met)
    low, high = wilson(good, total)
    return {
        **slo.model_dump(), "met": good, "total": total,
        "attained": good / total if total else None,
        "interval": [low, high] if total else None,
        "holds": good >= slo.share * total if total else None,
        "settled": low >= slo.share or high < slo.share if total else None,
    }
