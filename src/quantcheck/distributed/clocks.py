"""Another host's CLOCK_MONOTONIC against ours: read over round trips before a load and after it.

A host is asked for its clock, and ours is read before the question and after the answer. The host read its own at some
moment in between, so the middle is wrong by half the round trip at most, however unlike the two ways are (Cristian
1989). Of many round trips the shortest says most, as in NTP's clock filter (RFC 5905, section 10). Two clocks run at
rates that differ by a constant over a load: between the two readings the offset goes in a straight line, and a straight
line between two values that are each within their bound is within the greater one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Reading", "Relation", "read_clock"]


@dataclass(frozen=True, slots=True)
class Reading:
    """When the host's clock showed `host_ns`, ours was `ahead_ns` ahead of it (negative: behind), within half of
    `rtt_ns`, the round trip."""

    host_ns: int
    ahead_ns: int
    rtt_ns: int

    @property
    def bound_ns(self) -> int:
        """By how much `ahead_ns` may be wrong at most."""
        return (self.rtt_ns + 1) // 2

    def to_host(self, ours_ns: int) -> int:
        """A moment of our clock on the host's, soon after this reading."""
        return ours_ns - self.ahead_ns


def read_clock(ask: Callable[[], int], rounds: int, clock: Callable[[], int]) -> Reading:
    """The shortest of `rounds` round trips; `ask` brings what the host's clock shows, `clock` is ours."""
    found = []
    for _ in range(rounds):
        asked = clock()
        host = ask()
        answered = clock()
        found.append(Reading(host, (asked + answered) // 2 - host, answered - asked))
    return min(found, key=lambda reading: reading.rtt_ns)


@dataclass(frozen=True, slots=True)
class Relation:
    """A host's clock during a load, between the readings `before` and `after` it."""

    before: Reading
    after: Reading

    def ahead_ns(self, host_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """By how many ns our clock is ahead at each of these times [n] of the host's: a straight line between the
        readings, and outside of them what the nearer one says."""
        began, base = self.before.host_ns, self.before.ahead_ns
        line = np.interp(host_ns - began, [0, self.after.host_ns - began], [0, self.after.ahead_ns - base])
        return base + np.rint(line).astype(np.int64)

    @property
    def bound_ns(self) -> int:
        """By how much `ahead_ns` may be wrong between the readings, when the clocks' rates are constant."""
        return max(self.before.bound_ns, self.after.bound_ns)

    def as_json(self) -> dict[str, float]:
        """For the record. `offset_s`: ours less the host's, before the load; `drift_ppm`: by how much faster ours runs,
        known within `drift_bound_ppm`."""
        between = max(1, self.after.host_ns - self.before.host_ns)
        return {
            "offset_s": self.before.ahead_ns / 1e9,
            "bound_s": self.bound_ns / 1e9,
            "rtt_before_s": self.before.rtt_ns / 1e9,
            "rtt_after_s": self.after.rtt_ns / 1e9,
            "between_s": between / 1e9,
            "drift_ppm": 1e6 * (self.after.ahead_ns - self.before.ahead_ns) / between,
            "drift_bound_ppm": 1e6 * (self.before.bound_ns + self.after.bound_ns) / between,
        }
