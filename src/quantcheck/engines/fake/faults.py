"""The faults that a fake engine can be told to have, and which request each one hits."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from quantcheck.errors import SpecError

__all__ = ["ANY_REQUEST", "FAULTS", "STATUS", "Fault", "check_shares", "drawn"]

FAULTS = {
    "never-healthy": "listens, but /health answers 503 for ever",
    "die-at-start": "ends before it listens",
    "port-in-use": "another program holds the port that was asked for",
    "die-after": "N: answers N requests and ends in the middle of the next",
    "status-429": "N: every Nth request is answered 429 with Retry-After",
    "status-500": "N: every Nth request is answered 500",
    "status-503": "N: every Nth request is answered 503",
    "error-event": "N: every Nth stream carries an error event half-way, then ends cleanly",
    "cut": "N: every Nth stream's connection is closed half-way",
    "reset": "N: every Nth stream's connection is reset half-way",
    "short": "N: every Nth stream ends cleanly with half of its tokens",
    "no-done": "N: every Nth stream has all of its tokens and no end mark",
    "garbage": "N: every Nth stream carries an event that is not JSON half-way",
    "empty": "N: every Nth stream ends cleanly without a token",
    "empty-body": "N: every Nth answer is 200 with an empty body",
    "garbage-http": "N: every Nth answer is not HTTP",
    "hang": "N: every Nth request never gets an answer",
    "stall": "N: every Nth stream stops half-way and stays open",
    "slow": "N: every Nth answer's first byte, and all after it, come `slow_s` late",
}

STATUS = {
    "status-429": "429 Too Many Requests", "status-500": "500 Internal Server Error",
    "status-503": "503 Service Unavailable",
}
WHOLE_SERVER = frozenset({"never-healthy", "die-at-start", "port-in-use", "die-after"})
ANY_REQUEST = frozenset({*STATUS, "hang", "slow", "empty-body", "garbage-http"})
"""Faults that hit a request whether it streams or not; the others are half-way in a stream or at its end."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One scripted fault; `n` is what FAULTS says it is (1: every request)."""

    kind: str
    n: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `KIND` or `KIND:N`; raises `SpecError` with the nearest known kind."""
        kind, colon, number = text.partition(":")
        _require_known(kind, "engine.fault")
        if colon and not (number.isdecimal() and int(number) > 0):
            raise SpecError(f"engine.fault: {text!r}: the part after the colon must be a whole number above 0")
        return cls(kind, int(number) if colon else 1)

    def strikes(self, request: int) -> bool:
        """Whether the `request`th request (from 1) is hit."""
        if self.kind == "die-after":
            return request > self.n
        return self.kind not in WHOLE_SERVER and request % self.n == 0


def check_shares(faults: Sequence[tuple[str, float]]) -> None:
    """Raises `SpecError` for kinds that cannot be drawn per request and for shares that are none."""
    for kind, share in faults:
        _require_known(kind, "engine.faults")
        if kind in WHOLE_SERVER:
            raise SpecError(f"engine.faults: {kind!r} is not a fault of one request; give it as `fault:`")
        if not 0 <= share <= 1:
            raise SpecError(f"engine.faults: {kind}: a share is between 0 and 1, not {share}")
    if sum(share for _, share in faults) > 1 + 1e-9:
        raise SpecError("engine.faults: the shares are more than 1 together; a request has one fault at most")


def drawn(faults: Sequence[tuple[str, float]], request: str, seed: int) -> str | None:
    """The kind that falls to `request`: the same for the same id and seed, whatever the order of arrival."""
    if not faults:
        return None
    digest = hashlib.blake2b(f"{seed}:{request}".encode(), digest_size=8).digest()
    left = int.from_bytes(digest, "big") / 2**64
    for kind, share in faults:
        left -= share
        if left < 0:
            return kind
    return None


def _require_known(kind: str, where: str) -> None:
    if kind not in FAULTS:
        near = difflib.get_close_matches(kind, FAULTS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(FAULTS)}"
        raise SpecError(f"{where}: there is no fault {kind!r}; {hint}")
