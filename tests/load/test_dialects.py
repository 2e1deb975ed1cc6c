"""Tokens are counted by what the server says, not by the number of messages."""

import json
from typing import Any

import numpy as np

from quantcheck.engines.base import Endpoint
from quantcheck.load.dialects import read_stream, request_body

PROMPT = np.array([7, 8], np.int32)


def stream(*bodies: dict[str, Any] | str) -> list[tuple[int, bytes]]:
    texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    return [(stamp, f"data: {text}\n\n".encode()) for stamp, text in enumerate(texts)]


def text(value: str, **extra: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": value, "finish_reason": None, **extra}]}


def test_llama_server_holds_half_characters_back() -> None:
    # As seen: two tokens' text in one event, whose `tokens` names only the second.
    found = read_stream("llama-server", stream(
        {"content": "a", "tokens": [1], "stop": False, "tokens_predicted": 1, "tokens_evaluated": 2},
        {"content": "\u00e9", "tokens": [3], "stop": False, "tokens_predicted": 3, "tokens_evaluated": 2},
        {"content": "", "tokens": [], "stop": True, "tokens_predicted": 4, "tokens_evaluated": 2},
    ))
    assert found.chunks == [(0, 1), (1, 2), (2, 1)]
    assert (found.tokens, found.total, found.prompt_tokens, found.done) == (4, 4, 2, True)


def test_ids_count_where_they_are_given() -> None:
    found = read_stream("openai", stream(
        text("", token_ids=[5]), text("ab", token_ids=[6, 7, 8]), text("", token_ids=[]),
        {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 4}}, "[DONE]",
    ))
    assert found.chunks == [(0, 1), (1, 3)]
    assert (found.counted, found.total, found.done) == ("token ids", 4, True)


def test_usage_in_every_chunk_counts() -> None:
    found = read_stream("openai", stream(
        *({**text("x"), "usage": {"prompt_tokens": 2, "completion_tokens": n}} for n in (2, 3, 7)), "[DONE]"))
    assert found.chunks == [(0, 2), (1, 1), (2, 4)]
    assert found.counted == "server count"


def test_role_and_empty_chunks_are_no_tokens() -> None:
    found = read_stream("openai", stream(
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}, "[DONE]",
    ))
    assert found.chunks == [(1, 1)]
    assert found.counted == "one per chunk"


def test_damage_is_told_and_the_rest_kept() -> None:
    for bad in ("{not json", "[1]", {"error": {"message": "boom"}}, {"choices": 3}, {"choices": [{"token_ids": 3}]}):
        found = read_stream("openai", stream(text("a"), bad, text("b"), "[DONE]"))
        assert found.error is not None
        assert [stamp for stamp, _ in found.chunks] == [0, 2]


def test_requests_force_length_and_forbid_caching() -> None:
    llama = json.loads(request_body(Endpoint("u", "m", "llama-server"), PROMPT, 9))
    assert (llama["prompt"], llama["n_predict"], llama["ignore_eos"], llama["cache_prompt"]) == ([7, 8], 9, True, False)
    other = json.loads(request_body(Endpoint("u", "m", "openai"), PROMPT, 9))
    assert (other["model"], other["max_tokens"], other["min_tokens"], other["ignore_eos"]) == ("m", 9, 9, True)
