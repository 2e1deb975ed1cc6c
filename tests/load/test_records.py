"""Only a whole answer is `ok`; every other one is called by its name, and what came of it is kept."""

import json
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.load.exchange import Exchange, Fault
from quantcheck.load.records import OUTCOMES, Outcome, Record, read_exchange

MS = 1_000_000
DONE = b"data: [DONE]\n\n"


def event(body: Any) -> bytes:
    return f"data: {json.dumps(body)}\n\n".encode()


def token(text: str = "x", ids: int | None = 1, finish: str | None = None) -> bytes:
    choice: dict[str, Any] = {"text": text, "finish_reason": finish}
    return event({"choices": [choice if ids is None else {**choice, "token_ids": [5] * ids}]})


def usage(tokens: int) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": tokens}})


def exchange(*pieces: bytes, **fields: Any) -> Exchange:
    user = (np.arange(len(pieces), dtype=np.int64) + 10) * MS
    given: dict[str, Any] = {
        "request": 3, "stream": 1, "phase": "measured", "prompt_tokens": 2, "wanted": 2, "forced": True, "due_ns": None,
        "sent_ns": 5 * MS, "end_ns": 90 * MS, "status": 200, "headers": {}, "fault": None, "detail": "",
        "pieces": list(pieces), "user_ns": user, "kernel_ns": user - MS // 2,
    }
    return Exchange(**(given | fields))


def read(*pieces: bytes, **fields: Any) -> Record:
    return read_exchange(exchange(*pieces, **fields), "completions")


WHOLE = (token(), token(finish="length"), usage(2), DONE)


def test_a_whole_answer() -> None:
    record = read(*WHOLE)
    assert (record.outcome, record.detail, record.short, record.long) == ("ok", "", False, False)
    assert (record.output_tokens, record.prompt_tokens, record.retry_after_s) == (2, 2, None)
    assert record.stamps == "kernel"
    assert record.stamps_ns.tolist() == [9.5 * MS, 10.5 * MS]
    assert record.user_stamps_ns.tolist() == [10 * MS, 11 * MS]
    assert (record.chunk_tokens.tolist(), record.reads.tolist()) == ([1, 1], [0, 1])
    assert (record.first_ns, record.last_ns) == (9.5 * MS, 10.5 * MS)
    assert (str(record.stamps_ns.dtype), str(record.chunk_tokens.dtype)) == ("int64", "int32")


def test_kernel_stamps_only_where_every_read_has_one() -> None:
    kernel = np.array([9, 0, 11, 12], np.int64) * MS
    record = read(*WHOLE, kernel_ns=kernel)
    assert record.stamps == "user"
    assert record.stamps_ns.tolist() == [10 * MS, 11 * MS]


@pytest.mark.parametrize("fault", get_args(Fault))
def test_what_the_wire_saw_goes_first(fault: Fault) -> None:
    record = read(token(), fault=fault, detail="why")
    assert (record.outcome, record.detail, record.answer.tokens) == (fault, "why", 1)
    assert read(b"busy", fault=fault, status=503, detail="why").detail == "why; status 503"
    record = read(fault=fault, status=None)
    assert (record.outcome, record.first_ns, record.last_ns, record.stamps) == (fault, None, None, "user")
    assert record.stamps_ns.tolist() == []
    assert read(token(), event({"error": "boom"}), fault=fault, detail="why").detail == "why; boom"


def test_a_connection_that_ends_after_the_end_mark_is_well() -> None:
    record = read(*WHOLE, fault="cut", detail="no last chunk")
    assert (record.outcome, record.detail) == ("ok", "after the answer's end mark: no last chunk")
    assert read(*WHOLE[:-1], fault="cut").outcome == "cut"
    assert read(*WHOLE, fault="reset").outcome == "reset"
    assert read(token(), DONE, fault="cut").outcome == "incomplete"


@pytest.mark.parametrize(("status", "outcome"), [
    (500, "server_error"), (503, "server_error"), (404, "client_error"), (400, "client_error"), (307, "client_error"),
    (429, "rate_limited"), (None, "cut"),
])
def test_statuses(status: int | None, outcome: Outcome) -> None:
    record = read(b"no\xff" + b"x" * 500, status=status)
    assert record.outcome == outcome
    if status is not None:
        assert record.detail.startswith(f"status {status}: no\ufffdx")
        assert len(record.detail) < 230
    assert not record.answer.chunks


@pytest.mark.parametrize(("headers", "seconds"), [
    ({"retry-after": "7"}, 7.0), ({"retry-after": " 1.5 "}, 1.5), ({}, None), ({"retry-after": "soon"}, None),
    ({"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 10.0),
    ({"retry-after": "Wed, 21 Oct 2015 07:28:10 GMT"}, None), ({"retry-after": "²"}, None),
    ({"retry-after": "-1"}, None),
])
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    record = read(b"slow down", status=429, headers=headers)
    assert record.retry_after_s == seconds
    assert ("Retry-After" in record.detail) == ("retry-after" in headers)


def test_damage_within_an_answer() -> None:
    assert read(token(), event({"error": {"message": "boom"}}), DONE).outcome == "error_event"
    assert read(token(), b"data: {broken\n\n", token(), DONE).outcome == "garbage"
    assert read(event({"error": "boom"})).detail == "boom"
    assert read(b'{"error": {"message": "boom"}}').outcome == "error_event"


@pytest.mark.parametrize("pieces", [
    [], [DONE], [token("", None, "stop"), DONE], [b"<html>"], [usage(0), DONE], [b": ping\n\n"], [b'{"choices": []}'],
    [b'data: {"cho'],
])
def test_an_answer_without_a_token_is_empty(pieces: list[bytes]) -> None:
    assert read(*pieces).outcome == "empty"
    assert read(*pieces, forced=False).outcome == "empty"


def test_an_answer_needs_its_end() -> None:
    assert read(token(), token()).outcome == "incomplete"
    assert read(token(), token(), forced=False).detail == "2 of 2 tokens and no end mark"
    # A server that never sends [DONE]: its finish reason and the full length do.
    assert read(token(), token(finish="length")).outcome == "ok"
    assert read(token(finish="stop")).outcome == "incomplete"
    assert read(token(finish="stop"), forced=False).outcome == "ok"
    assert "ended amid an event" in read(token(), b"data: {").detail


def test_a_forced_length_must_be_met() -> None:
    record = read(token(), DONE)
    assert (record.outcome, record.detail) == ("incomplete", "1 of 2 tokens")
    assert "finish reason: length" in read(token(finish="length"), DONE).detail
    assert read(token(), DONE, forced=False).outcome == "ok"


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "eos_token"])
def test_a_server_that_cannot_force_the_length(reason: str) -> None:
    record = read(token(finish=reason), DONE)
    assert (record.outcome, record.short) == ("ok", True)
    assert not read(token(finish=reason), DONE, forced=False).short


def test_more_than_was_asked_for() -> None:
    record = read(token(ids=3), DONE)
    assert (record.outcome, record.long) == ("ok", True)


def test_the_servers_total_goes_before_an_estimate() -> None:
    record = read(token(ids=None), usage(2), DONE)
    assert (record.answer.counted, record.outcome, record.output_tokens) == ("one per chunk", "ok", 2)
    assert (record.answer.tokens, record.answer.difference) == (1, -1)
    # What was received by ids is what was received.
    record = read(token(), usage(2), DONE)
    assert (record.outcome, record.output_tokens) == ("incomplete", 1)
    # Without any count of the server's its finish reason has to do.
    assert read(token(ids=None, finish="length"), DONE).outcome == "ok"
    assert read(token(ids=None), DONE).outcome == "incomplete"


def test_llama_server() -> None:
    def llama(total: int, **extra: Any) -> bytes:
        return event({"content": "x", "tokens_predicted": total, "tokens_evaluated": 9, **extra})

    whole = exchange(llama(1), llama(2), llama(2, stop=True, stop_type="limit"), prompt_tokens=0)
    record = read_exchange(whole, "llama-server")
    assert (record.outcome, record.prompt_tokens) == ("ok", 9)
    assert read_exchange(exchange(llama(1), llama(2)), "llama-server").outcome == "incomplete"
    assert read_exchange(exchange(llama(1, stop=True, stop_type="eos")), "llama-server").short


def test_an_answer_of_one_body_has_one_chunk() -> None:
    body = {"choices": [{"message": {"content": "hi"}, "finish_reason": "length"}], "usage": {"completion_tokens": 2}}
    raw = json.dumps(body).encode()
    record = read_exchange(exchange(raw[:9], raw[9:]), "chat")
    assert (record.outcome, record.answer.streamed, record.chunk_tokens.tolist()) == ("ok", False, [2])
    assert record.stamps_ns.tolist() == [10.5 * MS]


@given(st.lists(st.binary(max_size=30) | st.sampled_from([token(), DONE, usage(2), b"\n\n"]), max_size=6),
       st.sampled_from([None, 200, 200, 200, 429, 503]), st.sampled_from([None, *get_args(Fault)]), st.booleans())
def test_any_answer_is_judged(pieces: list[bytes], status: int | None, fault: Fault | None, forced: bool) -> None:
    record = read(*pieces, status=status, fault=fault, forced=forced)
    assert record.outcome in OUTCOMES
    assert len(record.stamps_ns) == len(record.chunk_tokens) == len(record.answer.chunks)
    if record.outcome == "ok":
        assert (status, fault in (None, "cut")) == (200, True)
        assert record.output_tokens > 0
        assert record.answer.done or record.answer.finish_reason
    else:
        assert record.detail or fault is not None


def test_outcomes_are_all_named() -> None:
    assert set(OUTCOMES) == set(get_args(Outcome))
