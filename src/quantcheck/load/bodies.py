"""What the client sends, by dialect."""

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

import orjson

from quantcheck.engines.base import Dialect, Endpoint
from quantcheck.errors import SpecError

if TYPE_CHECKING:
    import numpy as np  # the first question to a server does not wait for it
    from numpy.typing import NDArray

__all__ = ["Prompt", "path", "request_body"]

Prompt = Union["NDArray[np.int32]", "array[int]", str, Sequence[Mapping[str, Any]]]
"""Token ids (int32[n]), text, or a chat's messages (`role`, `content`)."""

_PATHS: dict[Dialect, str] = {
    "completions": "/v1/completions",
    "chat": "/v1/chat/completions",
    "llama-server": "/completion",
}
_OWN = frozenset({
    "model", "prompt", "messages", "n", "max_tokens", "max_completion_tokens", "min_tokens", "n_predict", "ignore_eos",
    "stream", "stream_options", "return_token_ids", "return_tokens", "cache_prompt",
})
"""Keys on which the measurement rests; `sampling` may not touch them."""


def path(dialect: Dialect) -> str:
    """The path that requests are sent to."""
    return _PATHS[dialect]


def request_body(
    endpoint: Endpoint,
    prompt: Prompt,
    output_tokens: int,
    *,
    forced: bool = True,
    stream: bool = True,
    sampling: Mapping[str, Any] | None = None,
    plain: bool = False,
) -> bytes:
    """The JSON body of one request, greedy unless `sampling` (temperature, top_p, seed, ...) says otherwise.

    `forced`: for exactly `output_tokens`, as far as the server can be told to; else they are the most. `plain` leaves
    out what OpenAI's own protocol does not have (`min_tokens`, `ignore_eos`, `return_token_ids`), for servers that
    refuse unknown fields. Raises `SpecError` when the dialect has no place for such a prompt, when `sampling` touches
    what the measurement rests on, and for text that is not Unicode.
    """
    sampling = sampling or {}
    if taken := sorted(_OWN & sampling.keys()):
        raise SpecError(f"sampling: {', '.join(taken)} is set by the measurement itself; leave it out")
    body = _prompt(endpoint.dialect, prompt)
    if endpoint.dialect == "llama-server":
        body |= {
            "n_predict": output_tokens,
            "ignore_eos": forced,
            "cache_prompt": False,
            "return_tokens": True,
            "stream": stream,
        }
        # Greedy, without sorting the vocabulary.
        body |= sampling or {"samplers": ["top_k"], "top_k": 1}
    else:
        body = {"model": endpoint.model, **body, "max_tokens": output_tokens, "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        if not plain:
            body["return_token_ids"] = True
            if forced:
                body |= {"min_tokens": output_tokens, "ignore_eos": True}
        body |= {"temperature": 0, **sampling}
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise SpecError(f"a request cannot be written as JSON ({error}); use plain numbers and Unicode text") from error


def _prompt(dialect: Dialect, prompt: Prompt) -> dict[str, Any]:
    if not isinstance(prompt, str | Sequence) or isinstance(prompt, array):
        if dialect == "chat":
            raise SpecError("prompt: a chat endpoint takes no token ids; give text or messages, or use completions")
        return {"prompt": prompt.tolist()}
    if isinstance(prompt, str):
        return {"messages": [{"role": "user", "content": prompt}]} if dialect == "chat" else {"prompt": prompt}
    if dialect != "chat":
        raise SpecError(f"prompt: {path(dialect)} takes no chat messages; use the chat endpoint, or give text")
    return {"messages": [dict(message) for message in prompt]}
