"""What a window that several hosts made must be told with: how well their clocks are known against each other.

A latency is a difference of stamps of one host's clock, and none of this touches it. When requests of different hosts
are put beside each other (arrivals, the window's begin and end, requests in flight), each stamp is off by up to its
host's bound.
"""

from collections.abc import Mapping
from typing import Any

from quantcheck.load.limits import SCHEDULE_LAG_S, SCHEDULE_LAG_SHARE

__all__ = ["clock_notes"]


def clock_notes(result: Mapping[str, Any]) -> list[str]:
    """Lines for `result["notes"]`; none when the bound, with the schedule lag of an open loop (p99), lies within what
    a lag may be (`limits`)."""
    client = result["client"]
    bounds = [host["clock"]["bound_s"] for host in client["hosts"] or () if host["clock"] is not None]
    if len(bounds) < 2:
        return []
    bound, e2e = max(bounds), result["metrics"].get("e2e", 0.0)
    lag = client["schedule_lag"]["p99"] if client["schedule_lag"] else 0.0
    limit = max(SCHEDULE_LAG_S, SCHEDULE_LAG_SHARE * e2e)
    if bound + lag <= limit or lag > limit:  # a lag above it is told anyway, as the client's limit
        return []
    shares = [f"{bound / whole:.2%} of {name}" for whole, name in (
        (e2e, "the median end to end"), (result["window_s"], "the window")) if whole]
    return [f"the clocks of the hosts are known against each other within {bound * 1e3:.2f} ms"
            + (f" ({', '.join(shares)})" if shares else "") + (f", with a schedule lag p99 of {lag * 1e3:.2f} ms" if lag
                                                               else "")
            + f"; above {limit * 1e3:.2f} ms, arrivals, the window's ends and concurrency are uncertain by as much, "
              "latencies are not"]
