"""Requests say what is measured, in each server's words."""

import json
from typing import Any

import numpy as np
import pytest

from quantcheck.engines.base import Dialect, Endpoint
from quantcheck.errors import SpecError
from quantcheck.load.bodies import Prompt, path, request_body

IDS = np.array([7, 8], np.int32)
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße"}]


def body(dialect: Dialect, prompt: Prompt, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request_body(Endpoint("u", "m", dialect), prompt, 9, **options))
    return found


def test_paths() -> None:
    assert [path(dialect) for dialect in ("completions", "chat", "llama-server")] == [
        "/v1/completions", "/v1/chat/completions", "/completion"]


def test_completions() -> None:
    assert body("completions", IDS) == {
        "model": "m", "prompt": [7, 8], "max_tokens": 9, "min_tokens": 9, "ignore_eos": True, "temperature": 0,
        "stream": True, "stream_options": {"include_usage": True}, "return_token_ids": True,
    }
    assert body("completions", "Grüße")["prompt"] == "Grüße"


def test_chat() -> None:
    found = body("chat", MESSAGES)
    assert (found["messages"], found["max_tokens"], found["min_tokens"]) == (MESSAGES, 9, 9)
    assert body("chat", "hi")["messages"] == [{"role": "user", "content": "hi"}]


def test_llama_server() -> None:
    found = body("llama-server", IDS)
    assert (found["prompt"], found["n_predict"], found["ignore_eos"], found["cache_prompt"]) == ([7, 8], 9, True, False)
    assert (found["samplers"], found["top_k"], found["stream"]) == (["top_k"], 1, True)
    assert body("llama-server", IDS, forced=False)["ignore_eos"] is False
    assert "samplers" not in body("llama-server", IDS, sampling={"temperature": 0.7})


def test_free_plain_and_whole() -> None:
    free = body("completions", IDS, forced=False)
    assert free["max_tokens"] == 9
    assert not {"min_tokens", "ignore_eos"} & free.keys()
    assert body("chat", "hi", plain=True).keys() == {
        "model", "messages", "max_tokens", "temperature", "stream", "stream_options"}
    whole = body("chat", "hi", stream=False)
    assert whole["stream"] is False
    assert "stream_options" not in whole


def test_sampling() -> None:
    assert body("chat", "hi", sampling={"temperature": 0.7, "seed": 3})["temperature"] == 0.7
    with pytest.raises(SpecError, match="max_tokens, stream is set by the measurement"):
        body("chat", "hi", sampling={"stream": False, "max_tokens": 3, "top_p": 1})


@pytest.mark.parametrize(("dialect", "prompt"), [("chat", IDS), ("completions", MESSAGES), ("llama-server", MESSAGES)])
def test_a_prompt_that_the_dialect_has_no_place_for(dialect: Dialect, prompt: Prompt) -> None:
    with pytest.raises(SpecError, match="prompt: "):
        body(dialect, prompt)


def test_text_that_is_not_unicode() -> None:
    with pytest.raises(SpecError, match="cannot be written as JSON"):
        body("completions", "\ud800")
