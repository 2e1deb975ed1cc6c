"""The fake engine's pure parts: script, faults, bodies, frames, log."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.engines.fake import dialect
from quantcheck.engines.fake.engine import script_of
from quantcheck.engines.fake.faults import FAULTS, Fault, drawn
from quantcheck.engines.fake.frames import Frames
from quantcheck.engines.fake.journal import Journal, Record, open_file
from quantcheck.engines.fake.log import lateness, read_log
from quantcheck.engines.fake.plan import plan
from quantcheck.engines.fake.script import Script
from quantcheck.engines.fake.wire import BadRequest, RequestReader
from quantcheck.errors import EngineError, SpecError
from quantcheck.spec.experiment import FakeEngine


def test_a_script_survives_json() -> None:
    script = Script(token_pattern=(1, 4), faults=(("cut", 0.1), ("hang", 0.2)), answers=(("a", "b"),), slots=3)
    assert Script.from_json(script.to_json()) == script


@given(st.integers(0, 200), st.lists(st.integers(1, 9), max_size=4), st.integers(1, 5))
def test_chunks_carry_all_tokens_at_one_rate(tokens: int, pattern: list[int], size: int) -> None:
    script = Script(ttft_s=0.1, itl_s=0.01, tokens_per_chunk=size, token_pattern=tuple(pattern))
    chunks, offsets = script.chunk_tokens(tokens), script.offsets_ns(script.chunk_tokens(tokens))
    assert sum(chunks) == tokens
    assert len(offsets) == len(chunks)
    if chunks:
        assert offsets[0] == 100_000_000
        assert np.allclose(np.diff(offsets), 1e7 * np.array(chunks[1:]))


def test_a_pattern_is_cycled() -> None:
    assert Script(token_pattern=(1, 4, 2, 3)).chunk_tokens(13) == [1, 4, 2, 3, 1, 2]


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"slots": 4, "processes": 2}, r"engine\.slots: the queue is kept by one process"),
     ({"knee": 4, "processes": 2}, r"engine\.knee"),
     ({"processes": 0}, r"engine\.processes: 0 must be at least 1"),
     ({"itl_s": -1.0}, r"engine\.itl_s: -1\.0 must not be below 0"),
     ({"token_pattern": (1, 0)}, r"engine\.token_pattern"),
     ({"faults": (("ctu", 0.1),)}, r"engine\.faults: .*did you mean 'cut'"),
     ({"faults": (("die-after", 0.1),)}, "give it as `fault:`"),
     ({"faults": (("cut", 1.1),)}, "between 0 and 1"),
     ({"faults": (("cut", 0.6), ("hang", 0.6))}, "more than 1 together")],
)
def test_what_does_not_fit_together(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        Script(**fields)


@pytest.mark.parametrize(
    ("text", "says"), [("hnag", "did you mean 'hang'"), ("xyz", "known: never-healthy"), ("cut:0", "whole number"),
                       ("cut:x", "whole number")])
def test_a_misspelt_fault(text: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        script_of(FakeEngine(fault=text), "a")


def test_every_nth_request_is_hit() -> None:
    assert [Fault.parse("cut:3").strikes(n) for n in range(1, 7)] == [False, False, True, False, False, True]
    assert [Fault.parse("die-after:2").strikes(n) for n in range(1, 5)] == [False, False, True, True]
    assert all(Fault.parse(kind) for kind in FAULTS)


def test_shares_are_drawn_by_id_and_seed() -> None:
    faults = tuple((kind, 0.05) for kind in ("cut", "reset", "short", "no-done", "garbage", "empty", "status-429"))
    counts = Counter(drawn(faults, str(k), 0) for k in range(20_000))
    for kind, share in faults:  # 5 standard deviations
        assert abs(counts[kind] - 20_000 * share) < 5 * np.sqrt(20_000 * share * (1 - share))
    assert [drawn(faults, str(k), 1) for k in range(99)] == [drawn(faults, str(k), 1) for k in range(99)]
    assert [drawn(faults, str(k), 1) for k in range(99)] != [drawn(faults, str(k), 2) for k in range(99)]
    assert drawn((), "1", 0) is None
    assert drawn((("cut", 1.0),), "1", 0) == "cut"


def test_settings_reach_the_script() -> None:
    settings = FakeEngine(ttft_ms=30, itl_ms=6, speed={"b": 1.5}, tokens_per_chunk=2, processes=3)
    assert (script_of(settings, "a").ttft_s, script_of(settings, "a").itl_s) == (0.03, 0.006)
    assert (script_of(settings, "b").ttft_s, script_of(settings, "b").itl_s) == pytest.approx((0.02, 0.004))
    assert (script_of(settings, "b@again").tokens_per_chunk, script_of(settings, "b").processes) == (2, 3)
    assert script_of(FakeEngine(slots=2), "a").slots == 2


def request(script: Script, kind: dialect.Kind = "chat", **body: Any) -> dialect.Request:
    prompt = {"messages": [{"content": "one two"}]} if kind == "chat" else {"prompt": [1, 2, 3]}
    return dialect.read(kind, {**prompt, "stream": True, **body}, script)


def said(script: Script, asked: dialect.Request) -> list[dict[str, Any]]:
    """The deltas of a chat with a token an event."""
    return [json.loads(dialect.event(script, asked, k, k + 1))["choices"][0]["delta"] for k in range(asked.tokens)]


def test_reasoning_comes_first() -> None:
    script = Script(reasoning_tokens=2)
    asked = request(script, max_tokens=3, stream_options={"include_usage": True})
    assert said(script, asked) == [{"reasoning_content": " w0"}, {"reasoning_content": " w1"}, {"content": " w2"}]
    both = json.loads(dialect.event(script, asked, 1, 3))["choices"][0]["delta"]
    assert both == {"reasoning_content": " w1", "content": " w2"}
    usage = json.loads(dialect.last_events(script, asked, 3)[1])["usage"]
    assert (usage["completion_tokens"], usage["completion_tokens_details"]) == (3, {"reasoning_tokens": 2})
    message = json.loads(dialect.whole(script, asked))["choices"][0]["message"]
    assert message == {"role": "assistant", "content": " w2", "reasoning_content": " w0 w1"}


def test_a_tool_call_in_pieces() -> None:
    script = Script(tool=True, reasoning_tokens=1)
    calls = [delta["tool_calls"][0] for delta in said(script, request(script, max_tokens=3))[1:]]
    assert [call["function"]["arguments"] for call in calls] == [" w1", " w2"]
    assert [call.get("id") for call in calls] == ["call-0", None]
    assert calls[0]["function"]["name"] == "scripted"


@pytest.mark.parametrize("kind", ["completion", "chat"])
def test_usage_last_every_or_never(kind: dialect.Kind) -> None:
    found = {}
    for usage in ("last", "every", "never"):
        script = Script(usage=usage)
        asked = request(script, kind, max_tokens=2, stream_options={"include_usage": True})
        events = [dialect.event(script, asked, 0, 1), *dialect.last_events(script, asked, 1)]
        found[usage] = [(json.loads(event).get("usage") or {}).get("completion_tokens") for event in events[:-1]]
    assert found == {"last": [None, None, 1], "every": [1, 1, 1], "never": [None, None]}


def test_ids_and_end_marks_are_left_out_when_the_script_says_so() -> None:
    script = Script(token_ids=False, done=False)
    asked = request(script, "completion", return_token_ids=True)
    assert b"token_ids" not in dialect.event(script, asked, 0, 1)
    assert dialect.DONE not in dialect.last_events(script, asked, 1)


@pytest.mark.parametrize(
    ("asked", "tokens", "reason"), [(None, 5, "stop"), (9, 5, "stop"), (5, 5, "length"), (3, 3, "length")])
def test_a_length_that_cannot_be_forced(asked: int | None, tokens: int, reason: str) -> None:
    script = Script(ignore_length=True, natural_tokens=5)
    found = request(script, max_tokens=asked)
    assert (found.tokens, found.asked) == (tokens, asked or 5)
    assert json.loads(dialect.last_events(script, found, tokens)[0])["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize("body", [{"prompt": 3}, {"prompt": [1], "max_tokens": -1}, {"prompt": [1], "max_tokens": "x"},
                                  {"messages": []}, [], 3])
def test_bodies_that_are_none(body: Any) -> None:
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
        dialect.read("completion", body, Script())


@pytest.mark.parametrize("usage", ["last", "every"])
def test_kept_frames_hold_the_prompt_of_each_request(usage: Any) -> None:
    script = Script(usage=usage)
    frames = Frames(script)
    for length in (3, 40, 12_345):
        asked = request(script, "llama", prompt=list(range(length)), n_predict=2)
        events = [json.loads(data.split(b"data: ")[1]) for data in frames.chunks(asked, 2).data]
        assert [event["tokens_evaluated"] for event in events] == [length, length]
        assert [event["tokens_predicted"] for event in events] == [1, 2]
        plain = request(script, "completion", prompt=list(range(length)), max_tokens=2)
        last = json.loads(frames.chunks(plain, 2).data[-1].split(b"data: ")[1])
        assert last.get("usage") == ({"prompt_tokens": length, "completion_tokens": 2, "total_tokens": length + 2}
                                     if usage == "every" else None)


def test_frames_are_right_http_chunks() -> None:
    script = Script(eol="crlf", comments=True, token_pattern=(1, 3))
    asked = request(script, max_tokens=4)
    steps = plan(script, Frames(script), asked, None, 0, False)
    body, left = b"", b"".join(steps.data).partition(b"\r\n\r\n")[2]
    while left:
        size, _, left = left.partition(b"\r\n")
        body, left = body + left[: int(size, 16)], left[int(size, 16) + 2 :]
    assert body.startswith(b": ping\r\n\r\n: ping\r\n\r\ndata: {")
    assert body.endswith(b"data: [DONE]\r\n\r\n")
    assert body.count(b"\n") == body.count(b"\r\n")
    assert [count for count in steps.counts if count] == [(1,), (3,)]


def test_coalesced_events_are_due_with_the_last() -> None:
    script = Script(ttft_s=0.01, itl_s=0.01, coalesce=2)
    chunks = Frames(script).chunks(request(script, max_tokens=5), 5)
    assert chunks.counts == [(1, 1), (1, 1), (1,)]
    assert chunks.offsets_ns == [20_000_000, 40_000_000, 50_000_000]
    assert [data.count(b"data: ") for data in chunks.data] == [2, 2, 1]


def test_the_role_may_come_before_the_first_token() -> None:
    script = Script(ttft_s=0.5, role_s=0.3)
    steps = plan(script, Frames(script), request(script, max_tokens=1), None, 0, False)
    assert steps.due_ns[:3] == [0, 200_000_000, 500_000_000]
    assert b'"role":"assistant"' in steps.data[1]
    together = plan(Script(), Frames(Script()), request(Script(), max_tokens=1), None, 0, False)
    assert together.data[1].count(b"data: ") == 2


@given(st.integers(1, 40))
def test_requests_in_pieces_of_any_size(size: int) -> None:
    text = (b"POST /a?b=1 HTTP/1.1\r\nX-Request-Id: 7\r\nContent-Length: 3\r\n\r\nabc"
            b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"2\r\nde\r\n1\r\nf\r\n0\r\n\r\n")
    reader = RequestReader()
    found = [one for at in range(0, len(text), size) for one in reader.feed(text[at : at + size])]
    assert [(one.path, one.id, one.body, one.keep) for one in found] == [
        ("/a", "7", b"abc", True), ("/c", None, b"def", False)]


def test_what_is_not_http_is_refused() -> None:
    with pytest.raises(BadRequest):
        RequestReader().feed(b"\x16\x03\x01hello\r\n\r\n")


def record(name: str, due: list[int], sent: list[int], counts: list[tuple[int, ...]]) -> Record:
    return Record(name, "completion", 3, 9, None, 1, 1, due, sent, counts, end_ns=99)


def test_the_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "golden.jsonl"
    journal = Journal(open_file(str(file)))
    journal.add(record("a", [0, 10, 20, 20], [1, 12, 25], [(), (1,), (2, 3), ()]))  # its last step was not sent
    journal.add(record("b", [0, 10, 20], [1, 10, 20], [(), (1,), (1,)]))
    journal.add(record("c", [0], [], [()]))
    journal.finish()
    file.write_bytes(file.read_bytes() + b'{"request": "cut sh')
    a, b, c = read_log(file)
    assert (a.due_ns.tolist(), a.sent_ns.tolist(), a.tokens.tolist(), a.late_ns) == (
        [10, 20, 20], [12, 25, 25], [1, 2, 3], 5)
    assert (b.request, b.late_ns, b.wanted, b.end_ns) == ("b", 0, 9, 99)
    assert (c.sent_ns.size, c.late_ns) == (0, 0)
    late = lateness([a, b, c])
    assert (late.chunks, late.max_s, late.share) == (5, 5e-9, 0.0)
    assert late.p50_s == np.median([2, 5, 5, 0, 0]) / 1e9
    assert np.isnan(lateness([c]).p50_s)


def test_a_log_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        read_log(tmp_path / "none")
    (tmp_path / "other").write_text('{"x": 1}\n')
    with pytest.raises(EngineError, match="not a log"):
        read_log(tmp_path / "other")
