"""What the client sends, and how tokens are counted in what comes back, by dialect."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy import int32
from numpy.typing import NDArray

from quantcheck.engines.base import Dialect, Endpoint
from quantcheck.load.sse import events

__all__ = ["Counted", "Stream", "path", "read_stream", "request_body"]

Counted = Literal["server count", "token ids", "one per chunk"]
"""How a chunk's tokens were counted: by the server's running total, by the ids it carries, or taken to be one."""


@dataclass(slots=True)
class Stream:
    """One answer, read. `chunks`: (stamp in ns, tokens) of every chunk that carries at least one token."""

    chunks: list[tuple[int, int]] = field(default_factory=list)
    counted: Counted = "server count"
    total: int | None = None
    """The server's own total of output tokens, when it gives one."""
    prompt_tokens: int | None = None
    done: bool = False
    error: str | None = None

    @property
    def tokens(self) -> int:
        return sum(tokens for _, tokens in self.chunks)


def path(dialect: Dialect) -> str:
    return "/completion" if dialect == "llama-server" else "/v1/completions"


def request_body(endpoint: Endpoint, prompt: NDArray[int32], output_tokens: int) -> bytes:
    """A streaming request for exactly `output_tokens` greedy tokens, as far as the server can be told to."""
    if endpoint.dialect == "llama-server":
        body: dict[str, Any] = {
            "prompt": prompt.tolist(),
            "n_predict": output_tokens,
            "ignore_eos": True,
            "cache_prompt": False,
            "return_tokens": True,
            "samplers": ["top_k"],  # greedy, without sorting the vocabulary
            "top_k": 1,
            "stream": True,
        }
    else:
        body = {
            "model": endpoint.model,
            "prompt": prompt.tolist(),
            "max_tokens": output_tokens,
            "min_tokens": output_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
        }
    return json.dumps(body, separators=(",", ":")).encode()


def read_stream(dialect: Dialect, reads: Iterable[tuple[int, bytes]]) -> Stream:
    """Parses one answer's reads. Damage is told in `error`, never raised; what came before it is kept."""
    stream = Stream()
    step = _llama_event if dialect == "llama-server" else _openai_event
    for stamp, data in events(reads):
        if data == b"[DONE]":
            stream.done = True
            continue
        try:
            event = json.loads(data)
        except ValueError:
            stream.error = f"an event is not JSON: {data[:60]!r}"
            continue
        if not isinstance(event, dict):
            stream.error = f"an event is not an object: {data[:60]!r}"
        elif event.get("error") is not None:
            stream.error = str(event["error"])[:200]
        else:
            try:
                tokens = step(stream, event)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                stream.error = f"an event is malformed ({error!r}): {data[:60]!r}"
                continue
            if tokens > 0:
                stream.chunks.append((stamp, tokens))
    return stream


def _llama_event(stream: Stream, event: dict[str, Any]) -> int:
    """The server's running total is the only right count: the text of a token that ends in half a character is held
    back and travels, without its id, in the next event."""
    stream.prompt_tokens = event.get("tokens_evaluated", stream.prompt_tokens)
    before = stream.total or 0
    stream.total = int(event.get("tokens_predicted", before))
    if event.get("stop") is True:
        stream.done = True
    return stream.total - before


def _openai_event(stream: Stream, event: dict[str, Any]) -> int:
    before = stream.total or 0
    usage = event.get("usage")
    if usage:
        stream.total = int(usage["completion_tokens"])
        stream.prompt_tokens = int(usage["prompt_tokens"])
    if not event.get("choices"):
        return 0
    choice = event["choices"][0]
    ids = choice.get("token_ids")
    if ids is not None:
        stream.counted = "token ids"
        return len(ids)
    if usage and not choice.get("finish_reason"):
        return int(usage["completion_tokens"]) - before
    text = choice.get("text") or (choice.get("delta") or {}).get("content")
    if text:
        stream.counted = "one per chunk"
    return 1 if text else 0
