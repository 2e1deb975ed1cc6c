"""Answers are read for what they say, in every shape that servers give them."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from quantcheck.engines.base import Dialect
from quantcheck.load.dialects import Stream, read_stream

USAGE = {"prompt_tokens": 2, "completion_tokens": 4}
DIALECTS: list[Dialect] = ["completions", "chat", "llama-server"]


def stream(*bodies: Any) -> list[bytes]:
    texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    return [f"data: {text}\n\n".encode() for text in texts]


def text(value: str, **extra: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": value, "finish_reason": None, **extra}]}


def delta(finish: str | None = None, usage: int | None = None, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}
    return found if usage is None else {**found, "usage": {"prompt_tokens": 2, "completion_tokens": usage}}


def llama(content: str, total: int, **extra: Any) -> dict[str, Any]:
    return {"content": content, "stop": False, "tokens_predicted": total, "tokens_evaluated": 2, **extra}


def test_llama_server_holds_half_characters_back() -> None:
    # As seen: two tokens' text in one event, whose `tokens` names only the second.
    found = read_stream("llama-server", stream(
        llama("a", 1, tokens=[1]), llama("é", 3, tokens=[3]), llama("", 4, tokens=[], stop=True, stop_type="limit")))
    assert found.chunks == [(0, 1), (1, 2), (2, 1)]
    assert (found.counted, found.tokens, found.total, found.prompt_tokens) == ("server count", 4, 4, 2)
    assert (found.done, found.finish_reason) == (True, "length")


@pytest.mark.parametrize(("fields", "reason"), [
    ({"stop_type": "eos"}, "stop"), ({"stop_type": "word"}, "stop"), ({"stop_type": "none"}, None),
    ({"stopped_limit": True}, "length"), ({"stopped_eos": True}, "stop"),
])
def test_llama_servers_stop_types(fields: dict[str, Any], reason: str | None) -> None:
    assert read_stream("llama-server", stream(llama("", 1, stop=True, **fields))).finish_reason == reason


def test_ids_count_where_they_are_given() -> None:
    found = read_stream("completions", stream(
        text("", token_ids=[5]), text("ab", token_ids=[6, 7, 8]), text("", token_ids=[], finish_reason="length"),
        {"choices": [], "usage": USAGE}, "[DONE]"))
    assert found.chunks == [(0, 1), (1, 3)]
    assert (found.counted, found.total, found.difference, found.done) == ("token ids", 4, 0, True)
    assert (found.finish_reason, found.streamed) == ("length", True)


@pytest.mark.parametrize("logprobs", [{"tokens": ["a", "b"]}, {"content": [{"token": "a"}, {"token": "b"}]}])
def test_logprobs_count(logprobs: dict[str, Any]) -> None:
    found = read_stream("completions", stream(text("ab", logprobs=logprobs), text("", finish_reason="stop"), "[DONE]"))
    assert (found.counted, found.chunks) == ("logprobs", [(0, 2)])


def test_usage_in_every_chunk_counts() -> None:
    found = read_stream("completions", stream(
        *({**text("x"), "usage": {"prompt_tokens": 2, "completion_tokens": n}} for n in (2, 3, 7)), "[DONE]"))
    assert found.chunks == [(0, 2), (1, 1), (2, 4)]
    assert found.counted == "running usage"


def test_usage_in_the_last_chunk_is_only_a_check() -> None:
    found = read_stream("chat", stream(delta(content="a b"), delta(finish="stop"), {"choices": [], "usage": USAGE}))
    assert (found.counted, found.chunks, found.total, found.difference) == ("one per chunk", [(0, 1)], 4, -3)


def test_a_role_chunk_is_never_a_token() -> None:
    found = read_stream("chat", stream(
        delta(role="assistant", content=""), delta(content="hi"), delta(finish="length"), "[DONE]"))
    assert (found.chunks, found.counted) == ([(1, 1)], "one per chunk")
    # Not even where the server has a first token by then: it comes with the text.
    found = read_stream("chat", stream(
        delta(role="assistant", content="", usage=1), delta(content="hi", usage=1), delta(content="!", usage=2),
        delta(finish="length", usage=2), "[DONE]"))
    assert (found.chunks, found.counted) == ([(1, 1), (2, 1)], "running usage")


@pytest.mark.parametrize("names", [["reasoning_content"], ["reasoning"], ["reasoning", "reasoning_content"]])
def test_reasoning_counts_and_is_counted_apart(names: list[str]) -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 2}}
    thoughts = [delta(None, None, **dict.fromkeys(names, word)) for word in ("hm", " so")]
    found = read_stream("chat", stream(
        delta(role="assistant", content=""), *thoughts,
        delta(content="4"), delta(finish="stop"), {"choices": [], "usage": {**USAGE, **details}}, "[DONE]"))
    assert found.chunks == [(1, 1), (2, 1), (3, 1)]
    assert (found.reasoning_tokens, found.reasoning_total) == (2, 2)


def test_tool_calls_count() -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "look", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"a"'}}
    found = read_stream("chat", stream(
        delta(role="assistant", content=None), delta(tool_calls=[call]), delta(tool_calls=[more]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ""}}]), delta(finish="tool_calls"), "[DONE]"))
    assert [read for read, _ in found.chunks] == [1, 2]
    assert found.finish_reason == "tool_calls"


def test_text_is_tokenized_afterwards_where_nothing_else_is_told() -> None:
    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    answer = stream(delta(role="assistant", content=""), delta(reasoning="one two "), delta(content="three"), "[DONE]")
    found = read_stream("chat", answer, words)
    assert (found.counted, found.chunks, found.reasoning_tokens) == ("retokenized", [(1, 2), (2, 1)], 2)


@pytest.mark.parametrize(("dialect", "body", "counted"), [
    ("completions", {"choices": [{"text": "abcd", "finish_reason": "length"}], "usage": USAGE}, "running usage"),
    ("chat", {"choices": [{"message": {"role": "assistant", "content": "a"}, "token_ids": [1, 2, 3, 4]}],
              "usage": USAGE}, "token ids"),
    ("chat", {"choices": [{"message": {"role": "assistant", "content": ""}}], "usage": USAGE}, "running usage"),
    ("llama-server", llama("abcd", 4, stop=True), "server count"),
])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_answer_of_one_body(dialect: Dialect, body: dict[str, Any], counted: str, indent: int | None) -> None:
    whole = json.dumps(body, indent=indent).encode() + b"\n"
    found = read_stream(dialect, [whole[:9], whole[9:], b""])
    assert (found.streamed, found.done, found.chunks, found.total) == (False, True, [(1, 4)], 4)
    assert (found.counted, found.prompt_tokens, found.error) == (counted, 2, None)


def test_damage_is_told_and_the_rest_kept() -> None:
    for bad in ("{not json", "[1]", "7", "null", '"error"', {"choices": 3}, {"choices": [{"token_ids": 3}]},
                {"choices": [{"text": 5}]}, {"choices": [{"delta": "x"}]},
                *({"usage": {"completion_tokens": count}} for count in (-1, True, 10**12, "4", 1.5))):
        found = read_stream("completions", stream(text("a"), bad, text("b"), "[DONE]"))
        assert found.error_kind == "garbage", bad
        assert [read for read, _ in found.chunks] == [0, 2]


@pytest.mark.parametrize(("bad", "told"), [
    ({"error": {"message": "boom", "code": 500}}, "boom"), ({"error": "boom"}, "boom"),
    ({"object": "error", "message": "boom"}, "boom"), ({"error": {"code": 5}}, '{"error": {"code": 5}}'),
    (text("", finish_reason="abort"), "the server ended the answer with finish_reason 'abort'"),
])
def test_errors_of_the_server(bad: dict[str, Any], told: str) -> None:
    found = read_stream("completions", stream(text("a"), bad, "{garbage", text("b"), "[DONE]"))
    assert (found.error_kind, found.error) == ("error_event", told)
    assert {0, 3} <= {read for read, _ in found.chunks}
    assert read_stream("completions", stream({**text("a"), "error": None})).error is None


def test_an_event_named_error() -> None:
    found = read_stream("chat", [*stream(delta(content="a")), b"event: error\ndata: out of memory\n\n"])
    assert (found.error_kind, found.error) == ("error_event", "out of memory")


def test_json_that_only_python_reads() -> None:
    # -Infinity among log-probabilities; half of a surrogate pair; broken UTF-8, which a reader of events replaces.
    found = read_stream("completions", [
        b'data: {"choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-Infinity]}}]}\n\n',
        b'data: {"choices": [{"text": "\\ud83d", "logprobs": {"tokens": ["b"]}}]}\n\n',
        b'data: {"choices": [{"text": "\xe2\x82", "logprobs": {"tokens": ["c"]}}]}\n\n',
        b'data: {"error": "\\ud83d"}\n\n',
    ])
    assert found.tokens == 3
    assert found.error == "?"  # nothing that could not be stored


def test_a_stream_in_another_form() -> None:
    body = b"\xef\xbb\xbf: hello\r\n" + b"".join(stream(text("a", token_ids=[1]), text("b", token_ids=[2]))).replace(
        b"\n", b"\r\n") + b"id: 7\r\ndata:[DONE]\r\n\r\nda"
    found = read_stream("completions", [body[:70], body[70:]])
    assert (found.tokens, found.done, found.unfinished) == (2, True, True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["choices", "usage", "delta", "message", "text", "content", "token_ids", "tokens", "logprobs",
                         "finish_reason", "completion_tokens", "prompt_tokens", "completion_tokens_details", "error",
                         "reasoning_tokens", "tokens_predicted", "tokens_evaluated", "stop", "tool_calls", "function",
                         "object", "role", "index", "function_call", "completion_probabilities"]), inner, max_size=5),
    max_leaves=25)
EVENTS = st.one_of(JSON, st.builds(lambda c: {"choices": [c]}, JSON), st.builds(lambda c: {"choices": c}, JSON))


def sane(found: Stream) -> None:
    assert all(tokens > 0 for _, tokens in found.chunks)
    assert (found.error is None) == (found.error_kind is None)
    assert 0 <= found.reasoning_tokens <= found.tokens


@given(st.sampled_from(DIALECTS), st.lists(EVENTS, max_size=6))
def test_any_json_at_all_is_survived(dialect: Dialect, bodies: list[Any]) -> None:
    sane(read_stream(dialect, stream(*bodies)))
    for body in bodies:
        sane(read_stream(dialect, [json.dumps(body).encode()]))


@given(st.sampled_from(DIALECTS), st.lists(st.one_of(
    st.binary(max_size=40), st.sampled_from([b'data: {"choices": [', b"\n\n"])), max_size=10))
def test_any_bytes_at_all_are_survived(dialect: Dialect, pieces: list[bytes]) -> None:
    sane(read_stream(dialect, pieces))


def test_deep_nests_are_survived() -> None:
    for depth in (900, 5_000, 200_000):
        deep = "[" * depth + "]" * depth
        for body in (deep, f'{{"error": {deep}}}', f'{{"choices": [{{"text": {deep}}}]}}'):
            found = read_stream("completions", stream(body))
            assert found.error is not None
            sane(read_stream("completions", [body.encode()]))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.lists(st.integers(0, 5_000), max_size=10),
       st.sampled_from(["token_ids", "usage", "tokens_predicted"]))
def test_counts_do_not_depend_on_how_the_bytes_were_cut(sizes: list[int], places: list[int], way: str) -> None:
    total, bodies = 0, []
    for size in sizes:
        total += size
        bodies.append({
            "token_ids": text("é" * size, token_ids=[1] * size),
            "usage": {**text("é" * size), "usage": {"completion_tokens": total}},
            "tokens_predicted": llama("é" * size, total),
        }[way])
    dialect: Dialect = "llama-server" if way == "tokens_predicted" else "completions"
    body = b"".join(stream(*bodies, "[DONE]"))
    ends = sorted({0, len(body), *(place % len(body) for place in places)})
    pieces = [body[a:b] for a, b in pairwise(ends)]
    found = read_stream(dialect, pieces)
    assert (found.tokens, found.error, found.done) == (total, None, True)
    assert [tokens for _, tokens in found.chunks] == [size for size in sizes if size]


def test_tokens_from_the_prompt_cache_are_told() -> None:
    usage = {**USAGE, "prompt_tokens_details": {"cached_tokens": 16}}
    told = stream(delta(content="a"), {"choices": [], "usage": usage}, "[DONE]")
    assert read_stream("chat", told).cached_tokens == 16
    end = llama("", 1, tokens=[], stop=True, stop_type="limit", timings={"cache_n": 0, "prompt_n": 8})
    assert read_stream("llama-server", stream(llama("a", 1, tokens=[1]), end)).cached_tokens == 0
    assert read_stream("chat", stream(delta(content="a"), {"choices": [], "usage": USAGE})).cached_tokens is None
    odd = {**USAGE, "prompt_tokens_details": {"cached_tokens": -1}}
    assert read_stream("chat", stream(delta(content="a"), {"choices": [], "usage": odd})).error_kind == "garbage"
