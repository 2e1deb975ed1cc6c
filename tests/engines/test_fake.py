"""The fake engine does what its script says, and its faults are the ones it names."""

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from quantcheck.engines.fake.engine import FakeServer, script_of
from quantcheck.engines.fake.script import FAULTS, Fault, Script
from quantcheck.engines.open import open_engine
from quantcheck.errors import EngineError, SpecError
from quantcheck.spec.experiment import FakeEngine

QUICK = Script(ttft_s=0.0, itl_s=0.0)


def post(url: str, body: dict[str, Any]) -> str:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def data_of(stream: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in stream.splitlines() if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def serve(folder: Path, script: Script, **options: Any) -> FakeServer:
    return FakeServer(script, log=folder / "fake.log", golden=folder / "golden.jsonl", **options)


def golden(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "golden.jsonl").read_text().splitlines()]


def test_completions_chat_and_llama_dialect(tmp_path: Path) -> None:
    with serve(tmp_path, QUICK) as engine:
        base = engine.endpoint.base_url
        plain = json.loads(post(f"{base}/v1/completions", {"prompt": [5, 6, 7], "max_tokens": 3}))
        assert plain["choices"][0]["text"] == " w0 w1 w2"
        assert plain["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
        chat = data_of(post(f"{base}/v1/chat/completions", {
            "messages": [{"role": "user", "content": "two words"}], "max_tokens": 2, "stream": True,
            "stream_options": {"include_usage": True},
        }))
        assert chat[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert [event["choices"][0]["delta"].get("content") for event in chat[1:4]] == [" w0", " w1", None]
        assert chat[4]["usage"]["prompt_tokens"] == 2
        assert chat[5] == "[DONE]"
        llama = data_of(post(f"{base}/completion", {
            "prompt": [1, 2], "n_predict": 2, "stream": True, "return_tokens": True}))
        assert [(e["tokens"], e["tokens_predicted"], e["stop"]) for e in llama] == [
            ([0], 1, False), ([1], 2, False), ([], 2, True)]
        assert json.loads(post(f"{base}/tokenize", {"content": "ab"})) == {"tokens": [97, 98]}
        with urllib.request.urlopen(f"{base}/v1/models", timeout=10) as answer:
            assert json.load(answer)["data"][0]["id"] == "fake"
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(f"{base}/v1/completions", {"max_tokens": 3})
    assert [r["tokens"] for r in golden(tmp_path)] == [[3], [1, 1], [1, 1]]


def test_scripted_answers_and_chunks_of_several_tokens(tmp_path: Path) -> None:
    script = Script(ttft_s=0.0, itl_s=0.0, tokens_per_chunk=2, answers=(("capital", "It is Paris."),))
    with serve(tmp_path, script) as engine:
        url = f"{engine.endpoint.base_url}/v1/completions"
        assert json.loads(post(url, {"prompt": "the capital?"}))["choices"][0]["text"] == "It is Paris."
        events = data_of(post(url, {"prompt": "a capital", "stream": True, "return_token_ids": True}))
        assert [event["choices"][0].get("token_ids") for event in events[:-1]] == [[0, 1], [2], None]


def test_log_says_when_each_chunk_was_due_and_sent(tmp_path: Path) -> None:
    script = Script(ttft_s=0.03, itl_s=0.004, tokens_per_chunk=2)
    with serve(tmp_path, script) as engine:
        post(f"{engine.endpoint.base_url}/v1/completions", {"prompt": [1], "max_tokens": 5, "stream": True})
    (record,) = golden(tmp_path)
    assert [due - record["read_ns"] for due in record["due_ns"]] == [30_000_000, 38_000_000, 46_000_000]
    assert record["tokens"] == [2, 2, 1]
    assert all(sent >= due for due, sent in zip(record["due_ns"], record["sent_ns"], strict=True))
    assert record["end_ns"] >= record["sent_ns"][-1]


def test_speed_divides_the_times_of_one_variant() -> None:
    settings = FakeEngine(ttft_ms=30, itl_ms=6, speed={"b": 1.5})
    assert (script_of(settings, "a").ttft_s, script_of(settings, "a").itl_s) == (0.03, 0.006)
    assert (script_of(settings, "b").ttft_s, script_of(settings, "b").itl_s) == pytest.approx((0.02, 0.004))


def test_never_healthy(tmp_path: Path) -> None:
    engine = serve(tmp_path, Script(fault="never-healthy"), timeout_s=1.0)
    with pytest.raises(EngineError, match="not healthy within 1 s"):
        engine.start()


def test_death_at_start(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"exit status 70.*scripted death"):
        serve(tmp_path, Script(fault="die-at-start")).start()


def test_port_in_use(tmp_path: Path) -> None:
    settings = FakeEngine(fault="port-in-use")
    engine = open_engine(settings, variant="a", model=Path(), slots=1, tokens=1, log=tmp_path / "log")
    with pytest.raises(SpecError, match=r"engine\.port: \d+ is in use"):
        engine.start()


def test_start_delay_counts_as_time_to_ready(tmp_path: Path) -> None:
    with serve(tmp_path, Script(start_delay_s=0.5)) as engine:
        assert engine.ready_s >= 0.5
        assert engine.describe()["ready_s"] == engine.ready_s


@pytest.mark.parametrize(
    ("kind", "end"),
    [("no-done", " w3"), ("short", "[DONE]"), ("empty", "[DONE]"), ("error-event", "error"), ("garbage", "[DONE]")],
)
def test_streams_that_end_wrongly(tmp_path: Path, kind: str, end: str) -> None:
    with serve(tmp_path, Script(ttft_s=0.0, itl_s=0.0, fault=kind)) as engine:
        url = f"{engine.endpoint.base_url}/v1/completions"
        text = post(url, {"prompt": [1], "max_tokens": 4, "stream": True})
    assert end in text.splitlines()[-2]
    assert text.count(" w") == {"short": 2, "empty": 0, "error-event": 2}.get(kind, 4)
    assert ("{not json" in text) == (kind == "garbage")
    assert golden(tmp_path)[0]["fault"] == kind


@pytest.mark.parametrize("kind", ["cut", "reset", "die-after"])
def test_connections_that_break(tmp_path: Path, kind: str) -> None:
    with serve(tmp_path, Script(ttft_s=0.0, itl_s=0.001, fault=f"{kind}:1")) as engine:
        url = f"{engine.endpoint.base_url}/v1/completions"
        body = {"prompt": [1], "max_tokens": 4, "stream": True}
        if kind == "die-after":
            assert "[DONE]" in post(url, body)
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            post(url, body)


def test_every_nth_request_is_hit() -> None:
    assert [Fault.parse("cut:3").strikes(n) for n in range(1, 7)] == [False, False, True, False, False, True]
    assert [Fault.parse("die-after:2").strikes(n) for n in range(1, 5)] == [False, False, True, True]
    assert all(Fault.parse(kind) for kind in FAULTS)


@pytest.mark.parametrize(
    ("text", "says"), [("hnag", "did you mean 'hang'"), ("xyz", "known: never-healthy"), ("cut:0", "whole number"),
                       ("cut:x", "whole number")])
def test_a_misspelt_fault(text: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        script_of(FakeEngine(fault=text), "a")
