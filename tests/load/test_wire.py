"""The plain client against servers that are scripted byte by byte."""

import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from quantcheck.load.client import Pulse, Traffic
from tests.load.scripted import (
    EVENTS,
    FINE,
    HEAD,
    Peer,
    Server,
    answering,
    by_phase,
    chunk,
    chunked,
    schedule,
    send,
)

pytestmark = pytest.mark.alone

CRLF_EVENTS = [b'data: {"n":%d}\r\n\r\n' % n for n in range(3)]
TRICKY = b"data: 0\r\n\r\n0\r\n\r\n\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"

RESPONSES = {
    "events": (chunked(*EVENTS), b"".join(EVENTS)),
    "CRLF events": (chunked(*CRLF_EVENTS), b"".join(CRLF_EVENTS)),
    "several events in a chunk": (chunked(b"".join(CRLF_EVENTS[:2]), CRLF_EVENTS[2]), b"".join(CRLF_EVENTS)),
    "an event in several chunks": (chunked(b"data: 1\r", b"\n", b"\r", b"\ndata: 2\r\n\r\n"),
                                   b"data: 1\r\n\r\ndata: 2\r\n\r\n"),
    "trailers": (HEAD + chunk(EVENTS[0]) + b"0\r\nX-Time: 5\r\nX-More: a\r\n\r\n", EVENTS[0]),
    "chunk extensions": (HEAD + b"5;name=value\r\nhello\r\n0;last\r\n\r\n", b"hello"),
    "an end within the payload": (chunked(TRICKY, b"0\r\n\r\n", b"\r\n\r\n"), TRICKY + b"0\r\n\r\n" + b"\r\n\r\n"),
    "a length": (b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(TRICKY), TRICKY), TRICKY),
    "a length of none": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "an error": (b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy", b"busy"),
    "an interim response": (b"HTTP/1.1 102 Processing\r\n\r\n" + chunked(*EVENTS), b"".join(EVENTS)),
    "two interim responses": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                              + chunked(EVENTS[0]), EVENTS[0]),
}


def cut_at(pieces: Callable[[int], list[bytes]]) -> Callable[[Server, Peer], None]:
    """Request i gets the response in `pieces(i)`, each received on its own as far as the scheduler allows. Nothing may
    be asked on the connection before all is sent: the client must not take a part for the whole."""

    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            for number, piece in enumerate(pieces(asked.id)):
                if number:
                    time.sleep(0.0004)
                assert not peer.said_something(), f"the next request came before piece {number} of {pieces(asked.id)}"
                peer.send(piece)

    return serve


def whole(traffic: Traffic, body: bytes) -> None:
    for exchange in traffic.exchanges:
        if exchange.phase != "tail":
            assert (exchange.fault, exchange.detail) == (None, ""), exchange.request
            assert b"".join(exchange.pieces) == body, exchange.request
            assert exchange.end_ns >= exchange.user_ns[-1]
            assert len(exchange.pieces) == len(exchange.user_ns) == len(exchange.kernel_ns)


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_is_whole_wherever_it_is_cut(name: str) -> None:
    response, body = RESPONSES[name]
    cuts = len(response) - 1
    with Server(cut_at(lambda i: [response[: i % cuts + 1], response[i % cuts + 1 :]])) as server:
        traffic = send(server.url, schedule(cuts), 4)
    assert by_phase(traffic)["measured"] == list(range(cuts))
    whole(traffic, body)
    assert all(exchange.end_ns == exchange.user_ns[-1] for exchange in traffic.exchanges if exchange.fault is None)
    assert (server.connections, traffic.facts["connections"], traffic.facts["resent"]) == (4, 4, 0)
    assert {exchange.status for exchange in traffic.exchanges} == {429 if name == "an error" else 200}
    # Nearly all of them did come in two reads (else this test says nothing).
    assert sum(len(exchange.pieces) >= 2 for exchange in traffic.exchanges) > cuts / 2


def test_a_response_is_whole_byte_by_byte() -> None:
    """All of them, one after another on the same connections."""
    kinds = list(RESPONSES.values())

    def single(request: int) -> list[bytes]:
        response, _ = kinds[request % len(kinds)]
        return [response[i : i + 1] for i in range(len(response))]

    with Server(cut_at(single)) as server:
        traffic = send(server.url, schedule(5 * len(kinds)), 4)
    assert len(traffic.exchanges) == 5 * len(kinds)
    for exchange in traffic.exchanges:
        response, body = kinds[exchange.request % len(kinds)]
        assert (exchange.fault, b"".join(exchange.pieces)) == (None, body)
        assert len(exchange.pieces) > len(response) / 4
    assert (server.connections, traffic.facts["resent"]) == (4, 0)


def test_trailers_and_interim_responses_are_no_status() -> None:
    with Server(answering(RESPONSES["two interim responses"][0])) as server:
        (exchange,) = send(server.url, schedule(1), 1).exchanges
    assert exchange.status == 200
    assert exchange.headers["transfer-encoding"] == "chunked"


def test_the_connections_end_ends_a_response_without_length() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with Server(answering(head + EVENTS[0], b"".join(EVENTS[1:]), pause_s=0.002, times=1)) as server:
        traffic = send(server.url, schedule(6), 2)
    whole(traffic, b"".join(EVENTS))
    assert server.connections == 6


def test_http_1_0() -> None:
    with Server(answering(b"HTTP/1.0 200 OK\r\n\r\nhello", times=1)) as server:
        traffic = send(server.url, schedule(3), 1)
    whole(traffic, b"hello")
    assert server.connections == 3


def test_what_is_not_http() -> None:
    with Server(answering(b"SSH-2.0-OpenSSH_9.6\r\n", times=1)) as server:
        traffic = send(server.url, schedule(3), 1)
    assert [(exchange.fault, exchange.status) for exchange in traffic.exchanges] == [("cut", None)] * 3
    assert all("not HTTP" in exchange.detail for exchange in traffic.exchanges)
    assert [b"".join(exchange.pieces) for exchange in traffic.exchanges] == [b""] * 3


def test_damage_amid_the_chunks_keeps_what_came_before() -> None:
    with Server(answering(HEAD, chunk(EVENTS[0]), b"what?\r\n\r\n", pause_s=0.005)) as server:
        (exchange,) = send(server.url, schedule(1), 1).exchanges
    assert (exchange.fault, exchange.status) == ("cut", 200)
    assert "not HTTP" in exchange.detail
    assert b"".join(exchange.pieces) == EVENTS[0]


# -- what is sent ----------------------------------------------------------------------------------------------


def test_the_request_itself() -> None:
    with Server(answering(FINE)) as server:
        send(server.url + "/base/", schedule(3), 1)
    for number, asked in enumerate(server.asked):
        lines = asked.head.decode().split("\r\n")
        assert lines[0] == "POST /base/v1/completions HTTP/1.1"
        assert f"Host: 127.0.0.1:{server.port}" in lines
        assert f"X-Request-Id: {number}" in lines
        assert asked.body == b'{"n": %d}' % number
        assert not any(line.lower().startswith(("authorization", "accept-encoding")) for line in lines)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6() -> None:
    try:
        with Server(answering(FINE), family=socket.AF_INET6) as server:
            whole(send(server.url, schedule(2), 1), b"ok")
            assert f"Host: [::1]:{server.port}".encode() in server.asked[0].head
    except OSError as error:
        pytest.skip(f"no IPv6 loopback: {error}")


def test_a_large_prompt_is_written_as_the_server_reads_it() -> None:
    bodies = [bytes([65 + number]) * (3_000_000 + number) for number in range(4)]

    def serve(server: Server, peer: Peer) -> None:
        time.sleep(0.05)  # the client's buffer is full long before
        while asked := peer.ask(step=lambda: time.sleep(0.0002)):
            server.asked.append(asked)
            peer.send(chunked(*EVENTS))

    with Server(serve, receive_bytes=32768) as server:
        traffic = send(server.url, schedule(4, bodies=bodies), 2)
    whole(traffic, b"".join(EVENTS))
    assert {asked.id: asked.body for asked in server.asked} == dict(enumerate(bodies))
    at_ns = {asked.id: asked.at_ns for asked in server.asked}
    for exchange in traffic.exchanges:
        # Sent when writing began, and the server had all of it before it answered.
        assert exchange.sent_ns < at_ns[exchange.request] < exchange.user_ns[0]
    assert server.connections == 2


def test_an_answer_before_the_whole_request_was_read() -> None:
    """A server may refuse a large request by its head alone; the connection cannot be used again, half a request is
    still on its way."""
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
    heads = []

    def serve(server: Server, peer: Peer) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += peer.sock.recv(512)
        heads.append(data.partition(b"\r\n\r\n")[0])
        peer.send(refusal)
        time.sleep(0.5)  # not reading on: the client could else write all of it, and rightly keep the connection

    with Server(serve, receive_bytes=8192) as server:
        traffic = send(server.url, schedule(4, bodies=[b"x" * 8_000_000] * 4), 2, timeout_s=5.0)
    assert [exchange.fault for exchange in traffic.exchanges] == [None] * 4
    assert {exchange.status for exchange in traffic.exchanges} == {413}
    assert all(head.startswith(b"POST ") for head in heads)
    assert server.connections == 4


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"])
def test_a_connection_that_breaks_while_it_is_written_to(answer: bytes) -> None:
    def serve(server: Server, peer: Peer) -> None:
        peer.sock.recv(512)
        peer.send(answer)
        time.sleep(0.005)
        peer.reset()

    with Server(serve, receive_bytes=8192) as server:
        traffic = send(server.url, schedule(12, bodies=[b"x" * 4_000_000] * 12), 4, timeout_s=5.0)
    assert sorted(exchange.request for exchange in traffic.exchanges) == list(range(12))
    assert {exchange.fault for exchange in traffic.exchanges} <= ({"reset", "cut"} if not answer else {"reset", None})


# -- connections -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_connections_are_kept(workers: int) -> None:
    with Server(answering(chunked(*EVENTS))) as server:
        traffic = send(server.url, schedule(200, streams=5), 5, workers=workers)
    whole(traffic, b"".join(EVENTS))
    assert (server.connections, traffic.facts["connections"], traffic.facts["resent"]) == (5, 5, 0)


@pytest.mark.parametrize("streams", [1, 4])
def test_a_server_that_closes_silently_loses_no_request(streams: int) -> None:
    with Server(answering(chunked(*EVENTS), times=1)) as server:
        traffic = send(server.url, schedule(40), streams)
    whole(traffic, b"".join(EVENTS))
    assert by_phase(traffic)["measured"] == list(range(40))
    assert Counter(asked.id for asked in server.asked) == Counter(range(40))
    # Each stream finds out at most once; a new connection for each request from then on.
    assert traffic.facts["resent"] + traffic.facts["closed_idle"] >= 1
    assert traffic.facts["resent"] <= streams
    assert 40 <= server.connections <= 40 + streams


def test_a_server_that_says_that_it_closes() -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    with Server(answering(closing, times=1)) as server:
        traffic = send(server.url, schedule(20), 3)
    whole(traffic, b"ok")
    assert (server.connections, traffic.facts["resent"], traffic.facts["closed_idle"]) == (20, 0, 0)


def test_a_server_that_closes_after_a_few_answers() -> None:
    with Server(answering(chunked(*EVENTS), times=3)) as server:
        traffic = send(server.url, schedule(30), 3)
    whole(traffic, b"".join(EVENTS))
    assert Counter(asked.id for asked in server.asked) == Counter(range(30))


def test_an_open_loop_keeps_connections_too() -> None:
    with Server(answering(FINE)) as server:
        traffic = send(server.url, schedule(20, due_s=np.arange(20) * 0.01))
    whole(traffic, b"ok")
    assert server.connections < 20


# -- faults ----------------------------------------------------------------------------------------------------


def faults(traffic: Traffic) -> list[str | None]:
    return [exchange.fault for exchange in sorted(traffic.exchanges, key=lambda exchange: exchange.request)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("streams", [1, 64])
def test_thousands_that_are_refused(streams: int) -> None:
    traffic = send(f"http://127.0.0.1:{free_port()}", schedule(3000), streams)
    assert Counter(faults(traffic)) == {"refused": 3000}
    assert {exchange.detail for exchange in traffic.exchanges} == {"ECONNREFUSED"}
    assert {exchange.status for exchange in traffic.exchanges} == {None}


def test_refused_in_an_open_loop() -> None:
    traffic = send(f"http://127.0.0.1:{free_port()}", schedule(10, tail=4, due_s=np.arange(14) * 0.01))
    assert Counter(exchange.fault for exchange in traffic.exchanges if exchange.phase == "measured") == {"refused": 10}


@pytest.mark.parametrize(
    ("sent", "body"),
    [(b"", b""), (HEAD[:20], b""), (HEAD, b""), (HEAD + chunk(EVENTS[0]), EVENTS[0]),
     (chunked(*EVENTS)[:-1], b"".join(EVENTS)), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", b"hello"),
     (b"HTTP/1.1 103 Early Hints\r\n\r\n", b"")],
)
def test_cut(sent: bytes, body: bytes) -> None:
    with Server(answering(sent, times=1) if sent else answering(times=1)) as server:
        traffic = send(server.url, schedule(6), 2)
    assert faults(traffic) == ["cut"] * 6
    assert {b"".join(exchange.pieces) for exchange in traffic.exchanges} == {body}
    assert {exchange.detail for exchange in traffic.exchanges} == {"the connection ended before the response was whole"}


@pytest.mark.parametrize("sent", [b"", HEAD + chunk(EVENTS[0])])
def test_reset(sent: bytes) -> None:
    def serve(server: Server, peer: Peer) -> None:
        peer.ask()
        peer.send(sent)
        time.sleep(0.02)
        peer.reset()

    with Server(serve) as server:
        traffic = send(server.url, schedule(6), 2)
    assert faults(traffic) == ["reset"] * 6
    assert {b"".join(exchange.pieces) for exchange in traffic.exchanges} == {EVENTS[0] if sent else b""}
    assert all("reset" in exchange.detail.lower() for exchange in traffic.exchanges)


def one_in_four(sent: bytes) -> Callable[[Server, Peer], None]:
    """Every fourth request gets `sent` and then nothing; the others are answered."""

    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            if asked.id % 4 == 0:
                peer.send(sent)
                peer.wait_gone()
                return
            peer.send(chunked(*EVENTS))

    return serve


@pytest.mark.parametrize(
    ("sent", "fault"),
    [(b"", "no_first_byte"), (b"HTTP/1.1 200", "no_first_byte"),
     (b"HTTP/1.1 103 Early Hints\r\n\r\n" + HEAD, "no_first_byte"), (HEAD + chunk(EVENTS[0]), "stalled")],
)
def test_deadline(sent: bytes, fault: str) -> None:
    with Server(one_in_four(sent)) as server:
        traffic = send(server.url, schedule(12), 4, timeout_s=0.5)
    assert faults(traffic) == [fault, None, None, None] * 3
    hit = [exchange for exchange in traffic.exchanges if exchange.fault]
    assert all(0.5 <= (exchange.end_ns - exchange.sent_ns) / 1e9 < 3 for exchange in hit)
    assert all("no whole answer within" in exchange.detail for exchange in hit)
    assert {b"".join(exchange.pieces) for exchange in hit} == {EVENTS[0] if fault == "stalled" else b""}
    assert traffic.facts["ended_early"] is None


def test_deadline_of_the_first_byte() -> None:
    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            if asked.id == 0:
                peer.send(HEAD)
                peer.wait_gone()
                return
            peer.send(HEAD + chunk(EVENTS[0]))
            time.sleep(0.6)  # much longer than a first byte may take, and allowed: the body has begun
            peer.send(chunk(EVENTS[1]) + b"0\r\n\r\n")

    with Server(serve) as server:
        traffic = send(server.url, schedule(2), 2, timeout_s=20.0, first_byte_timeout_s=0.3)
    assert faults(traffic) == ["no_first_byte", None]


def test_nothing_but_deadlines_ends_the_run() -> None:
    with Server(lambda _, peer: peer.wait_gone()) as server:
        traffic = send(server.url, schedule(3000), 3, timeout_s=0.2)
    assert "in a row got no whole answer within 0.2 s" in traffic.facts["ended_early"]
    assert len(traffic.exchanges) < 20


def test_deadline_of_the_run_keeps_what_is_in_flight() -> None:
    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            if asked.id < 4:
                peer.send(chunked(*EVENTS))
            else:
                peer.send(HEAD + chunk(EVENTS[0]))
                peer.wait_gone()

    with Server(serve) as server:
        began = time.monotonic()
        traffic = send(server.url, schedule(8), 2, timeout_s=60.0, run_timeout_s=0.5)
        assert time.monotonic() - began < 10
    assert "the run's deadline of 0.5 s passed" in traffic.facts["ended_early"]
    assert faults(traffic) == [None] * 4 + ["cancelled"] * 2
    assert [b"".join(exchange.pieces) for exchange in traffic.exchanges if exchange.fault] == [EVENTS[0]] * 2


def test_a_listener_that_accepts_nothing() -> None:
    """The queue of the listener is full, so that connections are not even refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        filling = [socket.socket() for _ in range(4)]
        for sock in filling:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        time.sleep(0.05)
        traffic = send(f"http://127.0.0.1:{port}", schedule(4), 2, timeout_s=0.3)
        for sock in filling:
            sock.close()
    assert {exchange.fault for exchange in traffic.exchanges} <= {"refused", "no_first_byte"}
    assert len(traffic.exchanges) >= 2


# -- open loop -------------------------------------------------------------------------------------------------


def test_open_loop_keeps_to_its_times() -> None:
    due_s = np.cumsum(np.random.default_rng(5).exponential(0.004, 250))
    with Server(answering(chunked(*EVENTS))) as server:
        traffic = send(server.url, schedule(200, warmup=20, tail=30, due_s=due_s))
    start_ns = traffic.facts["start_ns"]
    assert [exchange.request for exchange in traffic.exchanges] == sorted(e.request for e in traffic.exchanges)
    assert by_phase(traffic)["measured"] == list(range(20, 220))
    lags = []
    for exchange in traffic.exchanges:
        assert exchange.due_ns == start_ns + round(1e9 * due_s[exchange.request])
        lags.append(exchange.sent_ns - exchange.due_ns)
    assert min(lags) >= 0  # never early
    assert statistics.median(lags) < 20e6
    whole(traffic, b"".join(EVENTS))


def test_a_server_that_stands_still_is_sent_requests_all_the_same() -> None:
    """Requests during the stall wait and have it in their latencies, counted from the intended time."""
    frozen, began = threading.Lock(), []

    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            if asked.id == 10:
                with frozen:
                    began.append(time.monotonic_ns())
                    time.sleep(0.5)
            else:
                with frozen:
                    pass
            peer.send(FINE)

    due_s = np.arange(60) * 0.01
    with Server(serve) as server:
        traffic = send(server.url, schedule(60, due_s=due_s))
    assert by_phase(traffic)["measured"] == list(range(60))
    begin = began[0]
    amid = [e for e in traffic.exchanges if begin < e.due_ns < begin + 450e6]
    assert len(amid) >= 30
    for exchange in amid:
        assert exchange.sent_ns - exchange.due_ns < 250e6  # sent during the stall, not after it
        assert exchange.end_ns >= begin + 500e6


def test_the_tail_ends_with_the_last_measured_answer() -> None:
    due_s = np.arange(400) * 0.01
    with Server(answering(FINE, pause_s=0.0)) as server:
        began = time.monotonic()
        traffic = send(server.url, schedule(20, tail=380, due_s=due_s))
        assert time.monotonic() - began < 3.5  # the tail alone would last 3.8 s
    assert len(by_phase(traffic)["tail"]) < 300


def test_the_tail_keeps_the_last_measured_one_company() -> None:
    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            if asked.id == 9:
                time.sleep(0.3)
            peer.send(FINE)

    with Server(serve) as server:
        traffic = send(server.url, schedule(10, tail=200, due_s=np.arange(210) * 0.01))
    assert by_phase(traffic)["measured"] == list(range(10))
    assert 15 < len(by_phase(traffic)["tail"]) < 200


def test_any_number_of_workers_sends_the_same() -> None:
    due_s = np.cumsum(np.random.default_rng(1).exponential(0.004, 90))
    found = []
    for workers in (1, 2, 3):
        with Server(answering(FINE)) as server:
            traffic = send(server.url, schedule(70, warmup=20, due_s=due_s), workers=workers)
        assert traffic.facts["workers"] == workers
        whole(traffic, b"ok")
        assert min(exchange.sent_ns - exchange.due_ns for exchange in traffic.exchanges) >= 0
        found.append(sorted((exchange.request, exchange.due_ns - traffic.facts["start_ns"], exchange.phase)
                            for exchange in traffic.exchanges))
        assert {asked.id: asked.body for asked in server.asked} == {n: b'{"n": %d}' % n for n in range(90)}
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 90


# -- closed loop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_streams_and_workers(workers: int) -> None:
    streams, warmup, measured, tail = 7, 3, 60, 20
    with Server(answering(chunked(*EVENTS), pause_s=0.001)) as server:
        traffic = send(server.url, schedule(measured, warmup=warmup, tail=tail, streams=streams), streams,
                       workers=workers)
    first = streams * warmup
    assert by_phase(traffic)["warmup"] == list(range(first))
    assert by_phase(traffic)["measured"] == list(range(first, first + measured))
    assert max(Counter(asked.id for asked in server.asked).values()) == 1
    for stream in range(streams):
        own = [exchange for exchange in traffic.exchanges if exchange.stream == stream]
        # Its own warm-up in order, before everything else; one after another.
        assert [exchange.request for exchange in own[:warmup]] == list(range(stream * warmup, (stream + 1) * warmup))
        assert all(exchange.phase != "warmup" for exchange in own[warmup:])
        assert all(a.end_ns <= b.sent_ns for a, b in pairwise(own))
    assert {exchange.stream for exchange in traffic.exchanges} == set(range(streams))
    # In the order of the schedule, within each worker.
    for worker in range(workers):
        sent = [e.request for e in traffic.exchanges if e.phase == "measured" and e.stream % workers == worker]
        assert sent == sorted(sent)


@pytest.mark.parametrize("workers", [1, 2])
def test_duration_ends_a_closed_loop(workers: int) -> None:
    with Server(answering(chunked(*EVENTS), pause_s=0.02)) as server:
        traffic = send(server.url, schedule(5000, streams=4), 4, duration_s=0.5, workers=workers)
    measured = [exchange for exchange in traffic.exchanges if exchange.phase == "measured"]
    assert {exchange.fault for exchange in measured} == {None}  # begun ones are waited for
    assert 4 <= len(measured) < 4 * 60
    start_ns = traffic.facts["start_ns"]
    assert max(exchange.sent_ns for exchange in measured) - start_ns > 0.2e9
    assert max(exchange.sent_ns for exchange in measured) - start_ns < 2e9
    assert traffic.facts["ended_early"] is None


def test_duration_ends_an_open_loop() -> None:
    """What is due after it is not sent; what was sent is waited for."""
    with Server(answering(HEAD, chunk(EVENTS[0]) + b"0\r\n\r\n", pause_s=0.1)) as server:
        traffic = send(server.url, schedule(500, tail=5, due_s=np.arange(505) * 0.02), duration_s=0.5)
    measured = [exchange for exchange in traffic.exchanges if exchange.phase == "measured"]
    assert {exchange.fault for exchange in measured} == {None}
    assert 10 < len(measured) < 100
    assert [exchange.request for exchange in measured] == list(range(len(measured)))


def test_streams_that_fail_go_on() -> None:
    def serve(server: Server, peer: Peer) -> None:
        asked = peer.ask()
        if asked is not None and asked.id % 2:
            peer.send(chunked(*EVENTS))

    with Server(serve) as server:
        traffic = send(server.url, schedule(40), 3)
    assert faults(traffic) == ["cut", None] * 20


# -- stamps and the board --------------------------------------------------------------------------------------


def test_stamps() -> None:
    sent: dict[int, list[int]] = {}

    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            times = sent.setdefault(asked.id, [])
            peer.send(HEAD)
            for event in EVENTS:
                time.sleep(0.003)
                times.append(time.monotonic_ns())
                peer.send(chunk(event))
            peer.send(b"0\r\n\r\n")

    with Server(serve) as server:
        traffic = send(server.url, schedule(12), 3)
    for exchange in traffic.exchanges:
        assert np.all(np.diff(exchange.user_ns) >= 0)
        assert np.all(exchange.kernel_ns <= exchange.user_ns)
        kernel = exchange.kernel_ns[exchange.kernel_ns > 0]
        assert np.all(np.diff(kernel) >= 0)
        body = b"".join(exchange.pieces)
        assert body == b"".join(EVENTS)
        received = np.cumsum([len(piece) for piece in exchange.pieces])
        for event, at_ns in enumerate(sent[exchange.request]):
            read = int(np.searchsorted(received, len(b"".join(EVENTS[: event + 1]))))
            assert exchange.user_ns[read] > at_ns
            # The kernel's clock is mapped to ours within some us; 1 ms is a generous bound.
            assert exchange.kernel_ns[read] == 0 or exchange.kernel_ns[read] > at_ns - 1e6


def test_stamps_of_the_process_alone() -> None:
    with Server(answering(FINE)) as server:
        traffic = send(server.url, schedule(3), 1, kernel_stamps=False)
    assert not any(exchange.kernel_ns.any() for exchange in traffic.exchanges)


def test_the_board_tells_how_far_it_is() -> None:
    seen: list[Pulse] = []
    with Server(answering(FINE, pause_s=0.02)) as server:
        send(server.url, schedule(60), 3, watch=seen.append)
    assert {pulse.requests for pulse in seen} == {60}
    assert any(0 < pulse.done < 60 for pulse in seen)
    assert any(pulse.busy == 3 for pulse in seen)
    assert all(0 <= pulse.busy <= 3 for pulse in seen)
    assert all(a.done <= b.done for a, b in pairwise(seen))


def test_what_the_watch_raises_ends_the_load() -> None:
    def watch(pulse: Pulse) -> None:
        if pulse.done >= 3:
            raise RuntimeError("enough")

    with Server(answering(FINE, pause_s=0.02)) as server, pytest.raises(RuntimeError, match="enough"):
        send(server.url, schedule(5000), 3, watch=watch)




def test_some_requests_that_hang_do_not_end_the_load() -> None:
    """In the end all streams hang at the same time; each was answered before."""
    def serve(server: Server, peer: Peer) -> None:
        while asked := peer.ask():
            if asked.id % 3 == 0:
                return peer.wait_gone()
            peer.send(chunked(*EVENTS))
        return None

    with Server(serve) as server:
        traffic = send(server.url, schedule(30), 3, timeout_s=0.2)
    assert traffic.facts["ended_early"] is None
    assert sum(exchange.fault is None for exchange in traffic.exchanges if exchange.phase == "measured") == 20
