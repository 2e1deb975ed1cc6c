"""What a fake engine does: its timings, its faults and its answers. Pure data, JSON in and out."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, cycle
from typing import Any, Literal, Self

from quantcheck.engines.fake.faults import FAULTS, Fault, check_shares, drawn
from quantcheck.errors import SpecError

__all__ = ["FAULTS", "Fault", "Script"]


@dataclass(frozen=True, slots=True)
class Script:
    """Seconds, counts and texts of one fake server; raises `SpecError` for what does not fit together.

    **Times.** A stream's first chunk is due `ttft_s` after the request was read (with `slots`: after it got one).
    Chunk k is due `itl_s` times the tokens that chunks 1 to k carry after the first: `itl_s` is per token. A chunk
    carries `tokens_per_chunk`, or what `token_pattern` says, cycled. `role_s`: how long before the first token a chat
    stream's role chunk is sent (0: with it). `stall_at_s` after its first request the whole server neither reads nor
    sends for `stall_s`.

    **Capacity.** `slots`: at most so many requests are served at once, others wait in order. `knee`: with n requests
    being served, gaps between tokens are longer by n / knee where that is above 1. Both need one process.

    **Answers.** `answers`: (part of the prompt, answer) pairs; other prompts get numbered words, as many as asked for
    (16 by default). `ignore_length`: never more than `natural_tokens`, as a server that cannot force a length.
    `reasoning_tokens`: so many first tokens of a chat are reasoning; `tool`: a chat's others are a tool call's
    arguments. `usage`: "last": when asked for, as OpenAI does; "every": in every event; "never". `token_ids`: whether
    `return_token_ids` and `return_tokens` are honoured. `done`: whether streams end with [DONE]. `reject_ids`: prompts
    of token ids are answered 400.

    **Wire.** `eol`; `comments`: an SSE comment before every event and right behind the head; `split`: everything is
    sent in pieces of so many bytes; `coalesce`: events per packet, sent when the last is due; `keep_alive` False:
    connections are closed after each answer, with `Connection: close` if `says_close`.

    **Faults.** `fault`: KIND or KIND:N of FAULTS; `faults`: (kind, share) pairs, drawn by the request's id and `seed`;
    `slow_s`: what "slow" adds.

    `processes` share the port and the connections; `log`: the file of the records (see `journal.py`).
    """

    model: str = "fake"
    port: int = 0
    ttft_s: float = 0.02
    itl_s: float = 0.005
    tokens_per_chunk: int = 1
    token_pattern: tuple[int, ...] = ()
    role_s: float = 0.0
    stall_at_s: float | None = None
    stall_s: float = 0.0
    slots: int | None = None
    knee: int | None = None
    start_delay_s: float = 0.0
    fault: str | None = None
    faults: tuple[tuple[str, float], ...] = ()
    seed: int = 0
    slow_s: float = 1.0
    answers: tuple[tuple[str, str], ...] = ()
    ignore_length: bool = False
    natural_tokens: int = 16
    reasoning_tokens: int = 0
    tool: bool = False
    usage: Literal["last", "every", "never"] = "last"
    token_ids: bool = True
    done: bool = True
    reject_ids: bool = False
    eol: Literal["lf", "crlf"] = "lf"
    comments: bool = False
    split: int | None = None
    coalesce: int = 1
    keep_alive: bool = True
    says_close: bool = True
    processes: int = 1
    log: str | None = None

    def __post_init__(self) -> None:
        if self.fault is not None:
            Fault.parse(self.fault)
        check_shares(self.faults)
        for name in ("ttft_s", "itl_s", "role_s", "stall_s", "slow_s", "start_delay_s", "reasoning_tokens",
                     "natural_tokens"):
            if not getattr(self, name) >= 0:
                raise SpecError(f"engine.{name}: {getattr(self, name)} must not be below 0")
        for name in ("tokens_per_chunk", "coalesce", "processes", "slots", "knee", "split"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SpecError(f"engine.{name}: {value} must be at least 1")
        if any(tokens < 1 for tokens in self.token_pattern):
            raise SpecError(f"engine.token_pattern: {self.token_pattern}: every chunk carries at least 1 token")
        if self.processes > 1:
            for name in ("slots", "knee"):
                if getattr(self, name) is not None:
                    raise SpecError(f"engine.{name}: the queue is kept by one process; leave `processes:` out "
                                    f"(it is {self.processes})")

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields: dict[str, Any] = json.loads(text)
        for name in ("answers", "faults"):
            fields[name] = tuple((first, second) for first, second in fields.get(name, ()))
        fields["token_pattern"] = tuple(fields.get("token_pattern", ()))
        return cls(**fields)

    def chunk_tokens(self, tokens: int) -> list[int]:
        """How many tokens each chunk of an answer of `tokens` carries."""
        chunks, left = [], tokens
        for size in cycle(self.token_pattern or (self.tokens_per_chunk,)):
            if left <= 0:
                break
            chunks.append(min(size, left))
            left -= size
        return chunks

    def offsets_ns(self, chunks: Sequence[int]) -> list[int]:
        """When each chunk is due, in ns after the request began; `chunks`: tokens of each, as from `chunk_tokens`."""
        if not chunks:
            return []
        return [round(1e9 * (self.ttft_s + self.itl_s * after)) for after in accumulate(chunks[1:], initial=0)]

    def strikes(self, request: str, number: int) -> str | None:
        """The fault of the `number`th request (from 1), whose id is `request`."""
        if self.fault is not None:
            fault = Fault.parse(self.fault)
            if fault.strikes(number):
                return fault.kind
        return drawn(self.faults, request, self.seed)
