"""HTTPS and proxies: another client underneath, the same rules and the same results."""

import shutil
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quantcheck.load.client import Traffic
from quantcheck.load.records import read_exchange
from tests.load.scripted import EVENTS, FINE, HEAD, Peer, Server, answering, by_phase, chunk, chunked, schedule, send

pytestmark = pytest.mark.alone

TOKENS = [b'data: {"choices": [{"text": " %d", "token_ids": [%d]}]}\n\n' % (n, n) for n in range(4)]
ANSWER = [*TOKENS, b"data: [DONE]\n\n"]
FAR = "203.0.113.7:8000"  # of RFC 5737, nobody's
Script = Callable[[Server, Peer], None]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1, signed by itself, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl program is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    key, crt, both = folder / "key.pem", folder / "crt.pem", folder / "both.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", crt, "-days",
                    "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    both.write_text(key.read_text() + crt.read_text())
    return both


@pytest.fixture
def secure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], Server]:
    """A server by HTTPS that the client trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return lambda script: Server(script, context=context)


def results(traffic: Traffic) -> list[tuple[int, str, str, int, int | None]]:
    """What must not depend on the client: by request."""
    records = [read_exchange(exchange, "completions") for exchange in traffic.exchanges
               if exchange.phase != "tail"]
    return sorted((record.exchange.request, record.exchange.phase, record.outcome, record.output_tokens,
                   record.exchange.status) for record in records)


def mixed(server: Server, peer: Peer) -> None:
    """Of ten requests some are refused, cut, empty or not whole; the connection is kept where it can be."""
    while asked := peer.ask():
        server.asked.append(asked)
        match asked.id % 10:
            case 1:
                peer.send(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy")
            case 3:
                peer.send(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
            case 5:
                peer.send(HEAD + chunk(TOKENS[0]) + chunk(TOKENS[1]))
                time.sleep(0.01)
                return
            case 7:
                peer.send(chunked(*TOKENS[:2]))
            case 8:
                peer.send(HEAD + chunk(b'data: {"error": {"message": "no"}}\n\n') + b"0\r\n\r\n")
            case _:
                peer.send(HEAD)
                for event in ANSWER:
                    time.sleep(0.001)
                    peer.send(chunk(event))
                peer.send(b"0\r\n\r\n")


def test_the_results_are_those_of_the_plain_client(secure: Callable[[Script], Server]) -> None:
    plan = schedule(30, warmup=1, tail=4, streams=3)
    with Server(mixed) as server:
        plain = send(server.url, plan, 3, workers=2)
    with secure(mixed) as server:
        found = send(server.url, plan, 3, workers=2)
    assert results(found) == results(plain)
    assert Counter(outcome for _, _, outcome, _, _ in results(plain)) == {
        "ok": 17, "rate_limited": 4, "server_error": 3, "cut": 3, "incomplete": 3, "error_event": 3}
    assert {asked.id: asked.body for asked in server.asked}.items() >= dict(enumerate(plan.bodies[:33])).items()
    assert (plain.facts["transport"], plain.facts["kernel_stamps_asked"]) == ("plain TCP", True)
    assert found.facts["transport"] == "aiohttp (HTTPS or a proxy): user-space stamps"
    assert found.facts["kernel_stamps_asked"] is False
    for exchange in found.exchanges:
        assert not exchange.kernel_ns.any()
        assert np.all(np.diff(exchange.user_ns) >= 0)
        assert not len(exchange.user_ns) or exchange.sent_ns < exchange.user_ns[0]


def test_the_request_itself(secure: Callable[[Script], Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sesame")
    with secure(answering(FINE)) as server:
        send(server.url + "/base", schedule(2), 1, key_variable="SOME_KEY")
    for asked in server.asked:
        line, *fields = asked.head.decode().lower().split("\r\n")
        assert line == "post /base/v1/completions http/1.1"
        assert {f"host: 127.0.0.1:{server.port}", f"x-request-id: {asked.id}", f"content-length: {len(asked.body)}",
                "authorization: bearer sesame", "content-type: application/json"} <= set(fields)
        assert len(fields) == len({field.partition(":")[0] for field in fields})
        assert not any(field.startswith("accept-encoding") for field in fields)


def test_every_chunk_is_stamped_after_it_was_sent(secure: Callable[[Script], Server]) -> None:
    sent: dict[int, list[int]] = {}

    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            times = sent.setdefault(asked.id, [])
            peer.send(HEAD)
            for event in ANSWER:
                time.sleep(0.003)
                times.append(time.monotonic_ns())
                peer.send(chunk(event))
            peer.send(b"0\r\n\r\n")

    with secure(serve) as server:
        traffic = send(server.url, schedule(6), 2)
    for exchange in traffic.exchanges:
        record = read_exchange(exchange, "completions")
        assert record.stamps == "user"
        assert np.all(record.stamps_ns > np.array(sent[exchange.request][:4]))


def test_a_certificate_that_is_not_trusted(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Server(answering(FINE), context=context) as server:
        traffic = send(server.url, schedule(3), 1)
    assert [exchange.fault for exchange in traffic.exchanges] == ["refused"] * 3
    assert all("certificate" in exchange.detail for exchange in traffic.exchanges)


def test_a_server_that_closes_silently_loses_no_request(secure: Callable[[Script], Server]) -> None:
    with secure(answering(chunked(*ANSWER), times=1)) as server:
        traffic = send(server.url, schedule(20), 2)
    assert [outcome for _, _, outcome, _, _ in results(traffic)] == ["ok"] * 20
    assert Counter(asked.id for asked in server.asked) == Counter(range(20))


def test_connections_are_kept(secure: Callable[[Script], Server]) -> None:
    with secure(answering(chunked(*ANSWER))) as server:
        traffic = send(server.url, schedule(30), 3)
    assert (server.connections, traffic.facts["connections"], traffic.facts["resent"]) == (3, 3, 0)


@pytest.mark.parametrize(("sent", "fault"), [(HEAD, "no_first_byte"), (HEAD + chunk(TOKENS[0]), "stalled")])
def test_deadline(secure: Callable[[Script], Server], sent: bytes, fault: str) -> None:
    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            if asked.id % 4 == 0:
                peer.send(sent)
                return peer.wait_gone()
            peer.send(chunked(*ANSWER))
        return None

    with secure(serve) as server:
        traffic = send(server.url, schedule(8), 3, timeout_s=0.6)
    assert Counter(exchange.fault for exchange in traffic.exchanges) == {fault: 2, None: 6}


def test_deadline_of_the_first_byte(secure: Callable[[Script], Server]) -> None:
    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            peer.send(HEAD)
            if asked.id == 0:
                return peer.wait_gone()
            peer.send(chunk(TOKENS[0]))
            time.sleep(0.6)
            peer.send(b"0\r\n\r\n")
        return None

    with secure(serve) as server:
        traffic = send(server.url, schedule(2), 2, timeout_s=20.0, first_byte_timeout_s=0.3)
    assert Counter(exchange.fault for exchange in traffic.exchanges) == {"no_first_byte": 1, None: 1}


def test_nothing_but_deadlines_ends_the_run(secure: Callable[[Script], Server]) -> None:
    with secure(lambda _, peer: peer.wait_gone()) as server:
        traffic = send(server.url, schedule(3000), 3, timeout_s=0.3)
    assert "in a row got no whole answer within 0.3 s" in traffic.facts["ended_early"]
    assert len(traffic.exchanges) < 20


def test_deadline_of_the_run_keeps_what_is_in_flight(secure: Callable[[Script], Server]) -> None:
    with secure(answering(HEAD + chunk(TOKENS[0]), pause_s=0.0)) as server:
        traffic = send(server.url, schedule(8), 2, timeout_s=60.0, run_timeout_s=0.6)
    assert "the run's deadline of 0.6 s passed" in traffic.facts["ended_early"]
    assert [exchange.fault for exchange in traffic.exchanges] == ["cancelled"] * 2
    assert [b"".join(exchange.pieces) for exchange in traffic.exchanges] == [TOKENS[0]] * 2


def test_reset(secure: Callable[[Script], Server]) -> None:
    def serve(server: Server, peer: Peer) -> None:
        peer.ask()
        peer.send(HEAD + chunk(TOKENS[0]))
        time.sleep(0.02)
        peer.reset()

    with secure(serve) as server:
        traffic = send(server.url, schedule(4), 2)
    assert [exchange.fault for exchange in traffic.exchanges] == ["reset"] * 4


def test_open_loop(secure: Callable[[Script], Server]) -> None:
    due_s = np.arange(60) * 0.01
    with secure(answering(chunked(*EVENTS))) as server:
        traffic = send(server.url, schedule(40, warmup=10, tail=10, due_s=due_s), workers=2)
    assert by_phase(traffic)["measured"] == list(range(10, 50))
    lags = [exchange.sent_ns - exchange.due_ns for exchange in traffic.exchanges]
    assert min(lags) >= -1_000_000  # asyncio's clock may wake a little early
    assert np.median(lags) < 50e6


@pytest.mark.parametrize("due_s", [None, np.arange(400) * 0.02])
def test_duration(secure: Callable[[Script], Server], due_s: list[float] | None) -> None:
    with secure(answering(chunked(*ANSWER), pause_s=0.02)) as server:
        traffic = send(server.url, schedule(400, due_s=due_s), 3 if due_s is None else None, duration_s=0.5)
    measured = [exchange for exchange in traffic.exchanges if exchange.phase == "measured"]
    assert {exchange.fault for exchange in measured} == {None}
    assert 3 <= len(measured) < 100


# -- proxies ---------------------------------------------------------------------------------------------------


def test_by_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    plan = schedule(20, warmup=1, streams=2)
    with Server(mixed) as server:
        plain = send(server.url, plan, 2)
    with Server(mixed) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        found = send(f"http://{FAR}", plan, 2)
    assert results(found) == results(plain)
    assert found.facts["transport"].startswith("aiohttp")
    assert all(asked.head.startswith(f"POST http://{FAR}/v1/completions HTTP/1.1".encode()) for asked in proxy.asked)


def test_no_proxy_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(answering(FINE)) as gone:
        address = gone.url
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    traffic = send(f"http://{FAR}", schedule(3), 1)
    assert [exchange.fault for exchange in traffic.exchanges] == ["refused"] * 3
