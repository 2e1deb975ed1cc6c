"""The bodies that the fake engine speaks: OpenAI completions and chat, and llama-server's /completion."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from quantcheck.engines.fake.script import Script

__all__ = ["DONE", "ERROR_EVENT", "GARBAGE", "PROMPT_MARK", "Kind", "Request", "event", "first_event", "last_events",
           "read", "whole"]

Kind = Literal["completion", "chat", "llama"]
DONE = b"[DONE]"
ERROR_EVENT = b'{"error": {"code": 500, "message": "scripted error", "type": "server_error"}}'
GARBAGE = b"{not json"
DEFAULT_TOKENS = 16
PROMPT_MARK = b"4100200301"
"""Stands for the number of prompt tokens in llama events that are kept for further requests (see `frames.py`)."""


@dataclass(slots=True)
class Request:
    """What was asked, and what will be answered.

    `tokens`: of the answer, without faults; `asked`: the length that the client named, else `tokens`; `answer`: index
    into the script's answers (-1: numbered words); `stopped`: the answer ends of itself before the length asked for.
    """

    kind: Kind
    prompt_tokens: int
    asked: int
    tokens: int
    answer: int
    stopped: bool
    stream: bool
    usage: bool
    ids: bool
    id_prompt: bool


def read(kind: Kind, body: Any, script: Script) -> Request:
    """One request's body; raises KeyError, TypeError, ValueError or AttributeError when it is not one."""
    text, count, id_prompt = _prompt(kind, body, wanted_text=bool(script.answers))
    asked = body.get("n_predict" if kind == "llama" else "max_tokens")
    if asked is None:
        asked = body.get("max_completion_tokens")
    if asked is not None and not (isinstance(asked, int) and asked >= 0):
        raise ValueError(f"a number of tokens cannot be {asked!r}")
    answer = next((place for place, (part, _) in enumerate(script.answers) if part in text), -1)
    if answer >= 0:
        natural: int | None = len(_pieces(script, answer))
    else:
        natural = script.natural_tokens if script.ignore_length else None
    limit = asked if asked is not None else DEFAULT_TOKENS if natural is None else natural
    tokens = limit if natural is None else min(limit, natural)
    options = body.get("stream_options") or {}
    return Request(
        kind=kind,
        prompt_tokens=count,
        asked=limit if answer < 0 else tokens,
        tokens=tokens,
        answer=answer,
        stopped=natural is not None and (asked is None or natural < asked),
        stream=bool(body.get("stream", False)),
        usage=bool(options.get("include_usage", False)) and script.usage != "never",
        ids=bool(body.get("return_tokens" if kind == "llama" else "return_token_ids", False)) and script.token_ids,
        id_prompt=id_prompt,
    )


def _prompt(kind: Kind, body: Any, wanted_text: bool) -> tuple[str, int, bool]:
    """A prompt's text (if wanted), its number of tokens (words of a text, ids of a list), whether it is of ids."""
    if kind == "chat":
        text = " ".join(str(message["content"]) for message in body["messages"])
        return text, len(text.split()), False
    prompt = body["prompt"]
    if isinstance(prompt, str):
        return prompt, len(prompt.split()), False
    ids = prompt[0] if prompt and isinstance(prompt[0], list) else prompt
    if not isinstance(ids, list):
        raise TypeError(f"a prompt cannot be {type(ids).__name__}")
    if ids and isinstance(ids[0], str):
        return str(ids[0]), len(ids[0].split()), False
    return " ".join(map(str, ids)) if wanted_text else "", len(ids), True


def _pieces(script: Script, answer: int) -> list[str]:
    return re.findall(r"\S+\s*", script.answers[answer][1])


def _text(script: Script, request: Request, start: int, end: int) -> str:
    if request.answer < 0:
        return "".join(f" w{k}" for k in range(start, end))
    return "".join(_pieces(script, request.answer)[start:end])


def _usage(script: Script, request: Request, tokens: int) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": request.prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": request.prompt_tokens + tokens,
    }
    if request.kind == "chat" and script.reasoning_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": min(tokens, script.reasoning_tokens)}
    return usage


def _said(script: Script, request: Request, start: int, end: int) -> dict[str, Any]:
    """The tokens from `start` up to `end` as fields of a chat's delta or message."""
    thought = min(max(script.reasoning_tokens, start), end)
    said: dict[str, Any] = {}
    if thought > start:
        said["reasoning_content"] = _text(script, request, start, thought)
    if end > thought and script.tool:
        call: dict[str, Any] = {"index": 0, "function": {"arguments": _text(script, request, thought, end)}}
        if start <= script.reasoning_tokens:  # its first piece
            call |= {"id": "call-0", "type": "function"}
            call["function"] = {"name": "scripted", **call["function"]}
        said["tool_calls"] = [call]
    elif end > thought:
        said["content"] = _text(script, request, thought, end)
    return said


def _envelope(script: Script, request: Request, choices: list[dict[str, Any]], tokens: int | None) -> dict[str, Any]:
    """`tokens`: sent so far, of a stream; None: a whole answer."""
    chunk = tokens is not None
    kind = ("chat.completion.chunk" if chunk else "chat.completion") if request.kind == "chat" else "text_completion"
    data = {"id": "fake", "object": kind, "created": 0, "model": script.model, "choices": choices}
    if tokens is not None and script.usage == "every":
        data["usage"] = _usage(script, request, tokens)
    return data


def first_event(script: Script, request: Request) -> bytes | None:
    """What a chat stream begins with before any token: the role."""
    if request.kind != "chat":
        return None
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    return orjson.dumps(_envelope(script, request, [choice], 0))


def event(script: Script, request: Request, start: int, end: int) -> bytes:
    """The event that carries the tokens from `start` up to `end`; a llama event has PROMPT_MARK in it."""
    ids = list(range(start, end))
    if request.kind == "llama":
        return orjson.dumps({
            "index": 0, "content": _text(script, request, start, end), "tokens": ids if request.ids else [],
            "stop": False, "id_slot": -1, "tokens_predicted": end, "tokens_evaluated": int(PROMPT_MARK),
        })
    choice: dict[str, Any]
    if request.kind == "chat":
        choice = {"index": 0, "delta": _said(script, request, start, end), "finish_reason": None}
    else:
        choice = {"index": 0, "text": _text(script, request, start, end), "logprobs": None, "finish_reason": None}
    if request.ids:
        choice["token_ids"] = ids
    return orjson.dumps(_envelope(script, request, [choice], end))


def last_events(script: Script, request: Request, tokens: int) -> list[bytes]:
    """What ends a stream of `tokens` tokens cleanly."""
    if request.kind == "llama":
        return [orjson.dumps({
            "index": 0, "content": "", "tokens": [], "stop": True, "model": script.model,
            "stop_type": "eos" if request.stopped else "limit", "tokens_predicted": tokens,
            "tokens_evaluated": request.prompt_tokens, "truncated": False,
        })]
    said: dict[str, Any] = {"delta": {}} if request.kind == "chat" else {"text": "", "logprobs": None}
    choice = {"index": 0, **said, "finish_reason": _reason(script, request)}
    parts = [orjson.dumps(_envelope(script, request, [choice], tokens))]
    if request.usage:
        parts.append(orjson.dumps(_envelope(script, request, [], tokens) | {"usage": _usage(script, request, tokens)}))
    return [*parts, DONE] if script.done else parts


def _reason(script: Script, request: Request) -> str:
    if not request.stopped:
        return "length"
    return "tool_calls" if script.tool and request.kind == "chat" else "stop"


def whole(script: Script, request: Request) -> bytes:
    """The answer to a request that does not stream."""
    count = request.tokens
    ids = list(range(count))
    if request.kind == "llama":
        return orjson.dumps({
            "content": _text(script, request, 0, count), "tokens": ids if request.ids else [], "stop": True,
            "stop_type": "eos" if request.stopped else "limit", "tokens_predicted": count,
            "tokens_evaluated": request.prompt_tokens, "truncated": False,
        })
    choice: dict[str, Any] = {"index": 0, "finish_reason": _reason(script, request)}
    if request.kind == "chat":
        said = _said(script, request, 0, count)
        choice["message"] = {"role": "assistant", "content": None if script.tool else "", **said}
    else:
        choice |= {"text": _text(script, request, 0, count), "logprobs": None}
    if request.ids:
        choice["token_ids"] = ids
    answer = _envelope(script, request, [choice], None)
    if script.usage != "never":
        answer["usage"] = _usage(script, request, count)
    return orjson.dumps(answer)
