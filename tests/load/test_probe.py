"""What a server does is found out by asking it."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quantcheck.engines.base import Dialect, Endpoint
from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.script import Script
from quantcheck.errors import MeasurementError, SpecError
from quantcheck.load.probe import TRY_TOKENS, Abilities, probe, vocabulary_of
from tests.load.scripted import Peer, Server

Reply = Callable[[str, dict[str, Any]], tuple[int, bytes]]


def replying(reply: Reply) -> Callable[[Server, Peer], None]:
    """A script: `reply` gives status and body for the request's line and JSON body."""

    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            server.asked.append(asked)
            line = asked.head.partition(b"\r\n")[0].decode()
            status, body = reply(line, json.loads(asked.body) if asked.body else {})
            peer.send(b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    return serve


def answer(tokens: int, ids: bool = True) -> bytes:
    events = [{"choices": [{"text": f" {n}", "index": 0, **({"token_ids": [n]} if ids else {})}]}
              for n in range(tokens)]
    events.append({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": tokens}})
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def ask(reply: Reply, ids: bool = True, dialect: Dialect = "completions", **options: Any) -> tuple[Abilities, Server]:
    with Server(replying(reply)) as server:
        return probe(Endpoint(server.url, "m", dialect), ids=ids, **options), server


def bodies(server: Server) -> list[dict[str, Any]]:
    return [json.loads(asked.body) for asked in server.asked]


@pytest.mark.parametrize("dialect", ["completions", "llama-server"])
def test_a_server_that_takes_ids(tmp_path: Path, dialect: Dialect) -> None:
    with FakeServer(Script(ttft_s=0.0, itl_s=0.0), log=tmp_path / "log", dialect=dialect) as engine:
        assert probe(engine.endpoint, ids=True) == Abilities(ids=True, plain=False, forced=True)


def test_text_when_no_ids_are_wanted(tmp_path: Path) -> None:
    with FakeServer(Script(ttft_s=0.0, itl_s=0.0), log=tmp_path / "log", dialect="chat") as engine:
        assert probe(engine.endpoint, ids=False) == Abilities(ids=False, plain=False, forced=True)


def test_a_server_that_refuses_ids(tmp_path: Path) -> None:
    with FakeServer(Script(ttft_s=0.0, itl_s=0.0, reject_ids=True), log=tmp_path / "log") as engine:
        found = probe(engine.endpoint, ids=True)
    assert (found.ids, found.plain, found.forced) == (False, False, True)
    (note,) = found.notes
    assert note.startswith("the server takes no prompts of token ids; text is sent (")


def test_a_server_that_does_not_keep_to_the_length(tmp_path: Path) -> None:
    script = Script(ttft_s=0.0, itl_s=0.0, ignore_length=True, natural_tokens=1)
    with FakeServer(script, log=tmp_path / "log") as engine:
        found = probe(engine.endpoint, ids=True)
    assert (found.ids, found.plain, found.forced) == (True, False, False)
    assert found.notes == ("the server did not keep to the length of answer that was asked for",)


def test_a_server_that_refuses_more_than_openai_has() -> None:
    def reply(_: str, body: dict[str, Any]) -> tuple[int, bytes]:
        extra = {"min_tokens", "ignore_eos", "return_token_ids"} & body.keys()
        return (400, b"unknown field") if extra else (200, answer(3, ids=False))

    found, server = ask(reply)
    assert (found.ids, found.plain, found.forced) == (True, True, False)
    assert "cannot be told an answer's length" in found.notes[0]
    assert ["ignore_eos" in body for body in bodies(server)] == [True, False]


def test_a_server_that_refuses_both() -> None:
    def reply(_: str, body: dict[str, Any]) -> tuple[int, bytes]:
        fine = isinstance(body["prompt"], str) and "ignore_eos" not in body
        return (200, answer(TRY_TOKENS, ids=False)) if fine else (422, b"no")

    found, server = ask(reply)
    assert (found.ids, found.plain, found.forced, len(found.notes)) == (False, True, True, 2)
    assert len(server.asked) == 4
    json.dumps(found.as_json())


def test_a_server_that_refuses_everything() -> None:
    with pytest.raises(SpecError, match="refuses every form of request.*I am a teapot"):
        ask(lambda *_: (418, b"I am a teapot"))


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [(401, SpecError, "wants an API key.*--key-env"), (403, SpecError, "wants an API key"),
     (404, SpecError, r"/v1/completions: not found \(why\); check --url, --api and --model"),
     (429, MeasurementError, r"not ready to answer \(status 429: why\)"),
     (500, MeasurementError, "status 500"), (503, MeasurementError, "status 503")],
)
def test_refusals(status: int, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as error:
        ask(lambda *_: (status, b"why"))
    assert "\n" not in str(error.value)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(MeasurementError, match=rf"127.0.0.1:{port}.*does not answer.*refused.*start the server"):
        probe(Endpoint(f"http://127.0.0.1:{port}", "m", "completions"), ids=True)


@pytest.mark.parametrize(
    "sent", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
             b"HTTP/1.1 500 -\r\nContent-Length: 100\r\n\r\nshort"])
def test_what_is_no_http_answer(sent: bytes) -> None:
    def serve(server: Server, peer: Peer) -> None:
        peer.ask()
        peer.send(sent)

    with Server(serve) as server, pytest.raises(MeasurementError):
        probe(Endpoint(server.url, "m", "completions"), ids=True)


@pytest.mark.parametrize("body", [b"<html>Welcome to nginx!</html>", b"", b"[1, 2]", b'"hello"'])
def test_what_is_no_answer_of_the_api(body: bytes) -> None:
    with pytest.raises(SpecError, match="check --url and --api|answered with an error"):
        ask(lambda *_: (200, body))


def test_an_answer_of_no_tokens_is_an_answer() -> None:
    found, _ = ask(lambda *_: (200, answer(0)))
    assert not found.forced


def test_an_error_within_the_answer() -> None:
    with pytest.raises(SpecError, match="answered with an error: no such model"):
        ask(lambda *_: (200, b'data: {"error": {"message": "no such model"}}\n\n'))


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sesame")
    _, server = ask(lambda *_: (200, answer(TRY_TOKENS)), key_variable="SOME_KEY")
    assert b"Authorization: Bearer sesame" in server.asked[0].head
    _, server = ask(lambda *_: (200, answer(TRY_TOKENS)))
    assert b"Authorization" not in server.asked[0].head


def test_this_machine_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    found, _ = ask(lambda *_: (200, answer(TRY_TOKENS)))
    assert found.forced


# -- vocabulary ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "size"),
    [(200, b'{"data": [{"id": "m", "meta": {"n_vocab": 32000}}]}', 32000),
     (200, b'{"data": [{"id": "other", "meta": {"n_vocab": 7}}]}', 7),
     (200, b'{"data": [{"id": "other", "meta": {"n_vocab": 7}}, {"id": "m", "meta": {"n_vocab": 8}}]}', 8),
     (200, b'{"data": [{"id": "m"}]}', None), (200, b'{"data": [{"id": "m", "meta": null}]}', None),
     (200, b'{"data": []}', None), (200, b"[]", None), (200, b"<html>", None), (200, b'{"data": [3]}', None),
     (404, b"", None), (500, b"{}", None)],
)
def test_vocabulary(status: int, body: bytes, size: int | None) -> None:
    with Server(replying(lambda line, _: (status, body) if line.startswith("GET /v1/models ") else (400, b""))) as it:
        assert vocabulary_of(Endpoint(it.url, "m", "completions")) == size


def test_vocabulary_of_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert vocabulary_of(Endpoint(f"http://127.0.0.1:{port}", "m", "completions")) is None
