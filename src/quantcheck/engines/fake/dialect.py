"""The bodies that the fake engine speaks: OpenAI completions and chat, and llama-server's /completion."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["DONE", "ERROR_EVENT", "Kind", "Request", "event", "first_event", "last_events", "read", "whole"]

Kind = Literal["completion", "chat", "llama"]
DONE = b"data: [DONE]\n\n"
ERROR_EVENT = b'data: {"error": {"code": 500, "message": "scripted error", "type": "server_error"}}\n\n'
DEFAULT_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked, and the tokens that will be answered."""

    kind: Kind
    model: str
    prompt_tokens: int
    stream: bool
    usage: bool
    ids: bool
    pieces: tuple[str, ...]


def _text(prompt: Any) -> tuple[str, int]:
    """A prompt's text and its number of tokens (words of a text, ids of a list)."""
    if isinstance(prompt, str):
        return prompt, len(prompt.split())
    ids = prompt[0] if prompt and isinstance(prompt[0], list) else prompt
    return " ".join(map(str, ids)), len(ids)


def read(kind: Kind, body: dict[str, Any], model: str, answers: Sequence[tuple[str, str]]) -> Request:
    """One request's body; raises KeyError, TypeError or ValueError when it is not one."""
    if kind == "chat":
        text, count = _text(" ".join(str(message["content"]) for message in body["messages"]))
    else:
        text, count = _text(body["prompt"])
    wanted = body.get("n_predict" if kind == "llama" else "max_tokens", body.get("max_completion_tokens"))
    answer = next((answer for part, answer in answers if part in text), None)
    if answer is None:
        pieces = tuple(f" w{k}" for k in range(DEFAULT_TOKENS if wanted is None else int(wanted)))
    else:
        pieces = tuple(re.findall(r"\S+\s*", answer))[:wanted]
    return Request(
        kind=kind,
        model=model,
        prompt_tokens=count,
        stream=bool(body.get("stream", False)),
        usage=bool((body.get("stream_options") or {}).get("include_usage", False)),
        ids=bool(body.get("return_tokens", False) or body.get("return_token_ids", False)),
        pieces=pieces,
    )


def _frame(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def _usage(request: Request, tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": request.prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": request.prompt_tokens + tokens,
    }


def _choice(request: Request, text: str, reason: str | None, whole: bool = False) -> dict[str, Any]:
    if request.kind == "chat":
        key = "message" if whole else "delta"
        content = {"role": "assistant", "content": text} if whole else ({"content": text} if text else {})
        return {"index": 0, key: content, "finish_reason": reason}
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


def _envelope(request: Request, choices: list[dict[str, Any]], chunk: bool) -> dict[str, Any]:
    kind = ("chat.completion.chunk" if chunk else "chat.completion") if request.kind == "chat" else "text_completion"
    return {"id": "fake", "object": kind, "created": 0, "model": request.model, "choices": choices}


def first_event(request: Request) -> bytes | None:
    """What a chat stream begins with before any token: the role."""
    if request.kind != "chat":
        return None
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    return _frame(_envelope(request, [choice], chunk=True))


def event(request: Request, start: int, end: int) -> bytes:
    """The event that carries the tokens from `start` up to `end`."""
    text, ids = "".join(request.pieces[start:end]), list(range(start, end))
    if request.kind == "llama":
        return _frame({
            "index": 0, "content": text, "tokens": ids if request.ids else [], "stop": False, "id_slot": -1,
            "tokens_predicted": end, "tokens_evaluated": request.prompt_tokens,
        })
    choice = _choice(request, text, None)
    if request.ids:
        choice["token_ids"] = ids
    return _frame(_envelope(request, [choice], chunk=True))


def last_events(request: Request, tokens: int) -> bytes:
    """What ends a stream of `tokens` tokens cleanly."""
    if request.kind == "llama":
        return _frame({
            "index": 0, "content": "", "tokens": [], "stop": True, "model": request.model, "stop_type": "limit",
            "tokens_predicted": tokens, "tokens_evaluated": request.prompt_tokens, "truncated": False,
        })
    parts = [_frame(_envelope(request, [_choice(request, "", "length")], chunk=True))]
    if request.usage:
        parts.append(_frame(_envelope(request, [], chunk=True) | {"usage": _usage(request, tokens)}))
    return b"".join(parts) + DONE


def whole(request: Request) -> dict[str, Any]:
    """The answer to a request that does not stream."""
    text, count = "".join(request.pieces), len(request.pieces)
    if request.kind == "llama":
        return {
            "content": text, "tokens": list(range(count)) if request.ids else [], "stop": True, "stop_type": "limit",
            "tokens_predicted": count, "tokens_evaluated": request.prompt_tokens, "truncated": False,
        }
    answer = _envelope(request, [_choice(request, text, "length", whole=True)], chunk=False)
    return answer | {"usage": _usage(request, count)}
