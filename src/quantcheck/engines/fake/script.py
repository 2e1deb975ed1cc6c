"""What a fake engine does: its timings, its faults and its answers. Pure data, JSON in and out."""

import difflib
import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from quantcheck.errors import SpecError

__all__ = ["FAULTS", "Fault", "Script"]

FAULTS = {
    "never-healthy": "listens, but /health answers 503 for ever",
    "die-at-start": "ends before it listens",
    "port-in-use": "another program holds the port that was asked for",
    "die-after": "N: answers N requests and ends in the middle of the next",
    "status-429": "N: every Nth request is answered 429 with Retry-After",
    "status-500": "N: every Nth request is answered 500",
    "error-event": "N: every Nth stream carries an error event half-way, then ends cleanly",
    "cut": "N: every Nth stream's connection is closed half-way",
    "reset": "N: every Nth stream's connection is reset half-way",
    "short": "N: every Nth stream ends cleanly with half of its tokens",
    "no-done": "N: every Nth stream has all of its tokens and no end mark",
    "garbage": "N: every Nth stream carries an event that is not JSON half-way",
    "empty": "N: every Nth stream ends cleanly without a token",
    "hang": "N: every Nth request never gets an answer",
    "stall": "N: every Nth stream stops half-way and stays open",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One scripted fault; `n` is what FAULTS says it is (1: every request)."""

    kind: str
    n: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `KIND` or `KIND:N`; raises `SpecError` with the nearest known kind."""
        kind, colon, number = text.partition(":")
        if kind not in FAULTS:
            near = difflib.get_close_matches(kind, FAULTS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(FAULTS)}"
            raise SpecError(f"engine.fault: there is no fault {kind!r}; {hint}")
        if colon and not (number.isdecimal() and int(number) > 0):
            raise SpecError(f"engine.fault: {text!r}: the part after the colon must be a whole number above 0")
        return cls(kind, int(number) if colon else 1)

    def strikes(self, request: int) -> bool:
        """Whether the `request`th request (from 1) is hit."""
        if self.kind == "die-after":
            return request > self.n
        return request % self.n == 0


@dataclass(frozen=True, slots=True)
class Script:
    """Seconds, counts and texts of one fake server.

    A request's first chunk is due `ttft_s` after the request was read, the k-th one `k * itl_s * tokens_per_chunk`
    later: `itl_s` is per token. `answers` are (part of the prompt, answer) pairs; other prompts get numbered words.
    """

    model: str = "fake"
    port: int = 0
    ttft_s: float = 0.02
    itl_s: float = 0.005
    tokens_per_chunk: int = 1
    start_delay_s: float = 0.0
    fault: str | None = None
    answers: tuple[tuple[str, str], ...] = ()
    log: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields: dict[str, Any] = json.loads(text)
        fields["answers"] = tuple((part, answer) for part, answer in fields.get("answers", ()))
        return cls(**fields)

    def due_s(self, chunks: int) -> list[float]:
        """When each of `chunks` chunks is due, in seconds after the request was read."""
        gap = self.itl_s * self.tokens_per_chunk
        return [self.ttft_s + k * gap for k in range(chunks)]
