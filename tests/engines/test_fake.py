"""The fake engine does what its script says, and its faults are the ones it names."""

import http.client
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from quantcheck.engines.fake.engine import FakeServer
from quantcheck.engines.fake.log import Truth, lateness, read_log
from quantcheck.engines.fake.script import Script
from quantcheck.engines.open import open_engine
from quantcheck.errors import EngineError, SpecError
from quantcheck.spec.experiment import FakeEngine

pytestmark = pytest.mark.alone

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


def truths(folder: Path) -> list[Truth]:
    return read_log(folder / "golden.jsonl")


def until(true: Callable[[], bool]) -> None:
    """Waits for something that happens soon."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def connect(engine: FakeServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(engine.endpoint.base_url.rpartition(":")[2])), timeout=10)


def ask(sock: socket.socket, tokens: int = 4, name: str = "x", headers: str = "", **body: Any) -> None:
    """Writes a streaming request."""
    data = json.dumps({"prompt": [1, 2], "max_tokens": tokens, "stream": True, **body})
    head = f"POST /v1/completions HTTP/1.1\r\nX-Request-Id: {name}\r\n{headers}Content-Length: {len(data)}\r\n\r\n"
    sock.sendall((head + data).encode())


def answer(sock: socket.socket) -> tuple[http.client.HTTPResponse, bytes]:
    """The next response and its body."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    return response, response.read()


def metrics(engine: FakeServer) -> dict[str, float]:
    with urllib.request.urlopen(f"{engine.endpoint.base_url}/metrics", timeout=10) as response:
        return {name: float(value) for name, _, value in (line.decode().strip().partition(" ") for line in response)}


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
    assert [due - record["read_ns"] for due in record["due_ns"]] == [30_000_000, 38_000_000, 42_000_000]
    assert record["tokens"] == [2, 2, 1]
    assert all(sent >= due for due, sent in zip(record["due_ns"], record["sent_ns"], strict=True))
    assert record["end_ns"] >= record["sent_ns"][-1]


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


@pytest.mark.parametrize("wire", [{"split": 1}, {"split": 7}, {"eol": "crlf"}, {"comments": True}, {"coalesce": 3},
                                  {"split": 3, "eol": "crlf", "comments": True, "coalesce": 2}], ids=str)
def test_other_legal_ways_to_send_the_same(tmp_path: Path, wire: dict[str, Any]) -> None:
    with serve(tmp_path, Script(ttft_s=0.0, itl_s=0.001, **wire)) as engine:
        text = post(f"{engine.endpoint.base_url}/v1/completions", {"prompt": [1], "max_tokens": 5, "stream": True})
    events = data_of("\n".join(line for line in text.splitlines() if not line.startswith(":")))
    assert [event["choices"][0]["text"] for event in events[:-1]] == [" w0", " w1", " w2", " w3", " w4", ""]
    assert events[-1] == "[DONE]"
    assert (": ping" in text, "\r" in text) == ("comments" in wire, "eol" in wire)
    (truth,) = truths(tmp_path)
    assert truth.tokens.tolist() == [1] * 5
    assert np.all(np.diff(truth.sent_ns) >= 0)
    assert np.all(truth.sent_ns >= truth.due_ns)


def test_connections_are_kept_or_closed(tmp_path: Path) -> None:
    with serve(tmp_path, QUICK) as engine, connect(engine) as sock:
        for _ in range(2):
            ask(sock)
            response, body = answer(sock)
            assert response.getheader("Connection") is None
            assert body.endswith(b"data: [DONE]\n\n")
        ask(sock, name="one")
        ask(sock, name="two")  # both are there before the first is answered
        both = b""
        while both.count(b"\r\n0\r\n\r\n") < 2:
            both += sock.recv(65_536)
        assert both.count(b"HTTP/1.1 200 OK") == 2
        ask(sock, headers="Connection: close\r\n")
        assert answer(sock)[0].getheader("Connection") == "close"
        assert sock.recv(1) == b""
    assert [truth.request for truth in truths(tmp_path)] == ["x", "x", "one", "two", "x"]


@pytest.mark.parametrize("says", [True, False])
def test_a_server_that_keeps_no_connection(tmp_path: Path, says: bool) -> None:
    script = Script(ttft_s=0.0, itl_s=0.0, keep_alive=False, says_close=says)
    with serve(tmp_path, script) as engine, connect(engine) as sock:
        ask(sock)
        response, body = answer(sock)
        assert response.getheader("Connection") == ("close" if says else None)
        assert body.endswith(b"[DONE]\n\n")
        assert sock.recv(1) == b""


def test_chunked_bodies_and_expectations(tmp_path: Path) -> None:
    with serve(tmp_path, QUICK) as engine, connect(engine) as sock:
        sock.sendall(b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        data = b'{"prompt": [1, 2, 3], "max_tokens": 2}'
        sock.sendall(b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (data[:5], len(data) - 5, data[5:]))
        assert json.loads(answer(sock)[1])["usage"]["total_tokens"] == 5
        sock.sendall(b"\x16\x03\x01 what is this\r\n\r\n")
        assert answer(sock)[0].status == 400
        assert sock.recv(1) == b""


def test_prompts_of_ids_may_be_refused(tmp_path: Path) -> None:
    with serve(tmp_path, Script(reject_ids=True, ttft_s=0.0)) as engine:
        url = f"{engine.endpoint.base_url}/v1/completions"
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(url, {"prompt": [1, 2], "max_tokens": 1})
        assert json.loads(post(url, {"prompt": "a text", "max_tokens": 1}))["choices"][0]["text"] == " w0"


@pytest.mark.parametrize("kind", ["status-503", "status-429", "empty-body", "garbage-http", "slow"])
def test_answers_that_are_wrong_from_the_start(tmp_path: Path, kind: str) -> None:
    with serve(tmp_path, Script(ttft_s=0.0, itl_s=0.0, fault=kind, slow_s=0.2)) as engine, connect(engine) as sock:
        ask(sock)
        if kind == "garbage-http":
            with pytest.raises(http.client.BadStatusLine):
                answer(sock)
        else:
            response, body = answer(sock)
            assert response.status == int(kind[-3:]) if kind.startswith("status") else 200
            assert (response.getheader("Retry-After") == "1") == kind.startswith("status")
            assert (body == b"") == (kind == "empty-body")
    (truth,) = truths(tmp_path)
    assert truth.fault == kind
    if kind == "slow":
        assert truth.due_ns[0] - truth.read_ns == 200_000_000


def test_faults_by_share_are_the_logged_ones(tmp_path: Path) -> None:
    shares = (("status-429", 0.1), ("short", 0.1), ("cut", 0.1), ("empty", 0.1), ("status-503", 0.1))
    script = Script(ttft_s=0.0, itl_s=0.0, faults=shares, seed=5)
    seen: dict[str, str | None] = {}
    with serve(tmp_path, script) as engine:
        for k in range(120):
            with connect(engine) as sock:
                ask(sock, name=str(k))
                try:
                    response, body = answer(sock)
                except http.client.IncompleteRead:
                    seen[str(k)] = "cut"
                    continue
            if response.status == 200:
                seen[str(k)] = {0: "empty", 2: "short", 4: None}[body.count(b" w")]
            else:
                seen[str(k)] = f"status-{response.status}"
    logged = {truth.request: truth.fault for truth in truths(tmp_path)}
    assert logged == seen == {str(k): script.strikes(str(k), k + 1) for k in range(120)}
    assert set(Counter(seen.values())) == {None, *(kind for kind, _ in shares)}


def test_slots_are_given_in_order(tmp_path: Path) -> None:
    with serve(tmp_path, Script(ttft_s=0.02, itl_s=0.005, slots=2)) as engine:
        socks = [connect(engine) for _ in range(6)]
        for k, sock in enumerate(socks):
            ask(sock, name=str(k))
            until(lambda k=k: metrics(engine)["fake:chunks_total"] > 0 or  # type: ignore[misc]
                  sum(metrics(engine)[f"llamacpp:requests_{state}"] for state in ("processing", "deferred")) == k + 1)
            assert metrics(engine)["llamacpp:requests_processing"] <= 2
        socks[5].close()  # leaves while it waits, or while it is served
        for sock in socks[:5]:
            assert answer(sock)[1].endswith(b"[DONE]\n\n")
            sock.close()
        assert metrics(engine)["llamacpp:requests_deferred"] == 0
    found = {truth.request: truth for truth in truths(tmp_path)}
    assert len(found) == 6
    served = sorted((truth for truth in found.values() if truth.due_ns.size), key=lambda truth: truth.read_ns)
    for early, late in zip(served, served[2:], strict=False):
        assert late.due_ns[0] >= min(t.end_ns for t in served if t.end_ns >= early.end_ns or t is early) + 20_000_000
    firsts = [truth.due_ns[0] for truth in served]
    assert firsts == sorted(firsts)


def test_gaps_grow_beyond_the_knee(tmp_path: Path) -> None:
    with serve(tmp_path, Script(ttft_s=0.5, itl_s=0.01, knee=2)) as engine:
        socks = [connect(engine) for _ in range(6)]
        for sock in socks:
            ask(sock, tokens=10)
        for sock in socks:
            answer(sock)
            sock.close()
    gaps = np.concatenate([np.diff(truth.due_ns) for truth in truths(tmp_path)])
    # All six are there when the first chunk is sent; the last gaps may fall when others have ended.
    assert gaps.max() == 30_000_000
    assert np.median(gaps) == 30_000_000
    assert gaps.min() >= 10_000_000


def test_a_stall_of_the_whole_server(tmp_path: Path) -> None:
    with serve(tmp_path, Script(ttft_s=0.0, itl_s=0.02, stall_at_s=0.1, stall_s=0.5)) as engine:
        with connect(engine) as first, connect(engine) as second:
            ask(first, tokens=20, name="first")
            assert first.recv(10, socket.MSG_PEEK)
            time.sleep(0.25)
            ask(second, name="second")
            answer(first)
            answer(second)
        assert metrics(engine)["fake:late_seconds_max"] > 0.4
    found = {truth.request: truth for truth in truths(tmp_path)}
    first_t, second_t = found["first"], found["second"]
    ends = first_t.read_ns + 600_000_000
    in_stall = (first_t.due_ns > first_t.read_ns + 100_000_000) & (first_t.due_ns < ends)
    assert in_stall.sum() == 14  # the plan is kept: 0.12, 0.14 ... 0.38 s
    assert np.all(first_t.sent_ns[in_stall] >= ends)
    assert second_t.read_ns >= ends
    assert first_t.late_ns == (first_t.sent_ns - first_t.due_ns).max() > 400_000_000
    assert lateness([first_t]).share >= 0.5


def test_a_reader_that_takes_its_time_gets_everything(tmp_path: Path) -> None:
    with serve(tmp_path, Script(ttft_s=0.0, itl_s=0.0)) as engine, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", int(engine.endpoint.base_url.rpartition(":")[2])))
        ask(sock, tokens=40_000)
        with connect(engine) as other:  # is not held up by it
            ask(other, name="other")
            assert answer(other)[1].endswith(b"[DONE]\n\n")
        assert metrics(engine)["fake:chunks_total"] < 40_000
        body = answer(sock)[1]
        assert body.count(b"data: ") == 40_002
    slow = next(truth for truth in truths(tmp_path) if truth.request == "x")
    assert (slow.tokens.sum(), slow.sent_ns.size) == (40_000, 40_000)
    assert np.all(np.diff(slow.sent_ns) >= 0)


def test_a_client_that_leaves_and_a_server_that_is_stopped(tmp_path: Path) -> None:
    with serve(tmp_path, Script(ttft_s=60.0)) as engine:
        stays = connect(engine)
        ask(stays, name="stays")
        with connect(engine) as leaves:
            ask(leaves, name="leaves")
            assert leaves.recv(10, socket.MSG_PEEK)
        until(lambda: len(truths(tmp_path)) == 1)  # on disk although the server goes on
        assert stays.recv(10, socket.MSG_PEEK)
    stays.close()
    assert {truth.request: truth.client_left for truth in truths(tmp_path)} == {"leaves": True, "stays": False}


def test_several_processes_share_connections_evenly(tmp_path: Path) -> None:
    with serve(tmp_path, Script(ttft_s=0.0, itl_s=0.001, processes=3, fault="stall:31")) as engine:
        children = psutil.Process(engine.pid).children()
        assert len(children) == 2
        before = metrics(engine)["fake:chunks_total"]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda k: _one(engine, str(k)), range(30)))
        assert metrics(engine)["fake:chunks_total"] - before == 120
        socks = [connect(engine) for _ in range(9)]
        family = [psutil.Process(engine.pid), *children]
        # Connections that are accepted and not yet handed on count for the first process, but not for long.
        until(lambda: [sum(c.status == "ESTABLISHED" for c in process.net_connections("tcp"))
                       for process in family] == [3, 3, 3])
        ask(socks[0], name="stalls")  # number 31, whichever process has it
        until(lambda: metrics(engine)["fake:chunks_total"] - before == 122)
        assert {metrics(engine)["llamacpp:requests_processing"] for _ in range(3)} == {1.0}
        for sock in socks:
            sock.close()
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    found = {truth.request: truth for truth in truths(tmp_path)}
    assert set(found) == {*map(str, range(30)), "stalls"}
    assert found["stalls"].fault == "stall"


def _one(engine: FakeServer, name: str) -> None:
    with connect(engine) as sock:
        ask(sock, name=name)
        assert answer(sock)[1].endswith(b"[DONE]\n\n")


@pytest.mark.parametrize("which", ["first", "other"])
def test_processes_end_together(tmp_path: Path, which: str) -> None:
    with serve(tmp_path, Script(processes=3)) as engine:
        family = [psutil.Process(engine.pid), *psutil.Process(engine.pid).children()]
        os.kill(family[0 if which == "first" else 1].pid, signal.SIGKILL)
        until(lambda: all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in family))
        with pytest.raises(EngineError, match="killed by SIGKILL" if which == "first" else "exit status 137"):
            engine.check()


def test_one_process_that_dies_by_script_ends_all(tmp_path: Path) -> None:
    with serve(tmp_path, Script(ttft_s=0.0, itl_s=0.001, processes=3, fault="die-after:4")) as engine:
        for k in range(4):
            _one(engine, str(k))
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            _one(engine, "last")
        with pytest.raises(EngineError, match="exit status 70"):
            engine._process.wait_until(lambda: False, 30)
    assert {truth.request: truth.fault for truth in truths(tmp_path)} == {
        **{str(k): None for k in range(4)}, "last": "die-after"}


def test_many_streams_at_once(tmp_path: Path) -> None:
    with serve(tmp_path, Script(ttft_s=0.05, itl_s=0.002)) as engine:
        socks = [connect(engine) for _ in range(200)]
        for k, sock in enumerate(socks):
            ask(sock, tokens=50, name=str(k))
        for sock in socks:
            assert answer(sock)[1].count(b" w") == 50
            sock.close()
        assert metrics(engine)["fake:chunks_total"] == 10_000
    late = lateness(truths(tmp_path))
    assert late.chunks == 10_000
    assert late.max_s < 30
