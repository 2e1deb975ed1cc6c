"""Servers that do byte for byte what a test says, and schedules for them."""

import json
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np

from quantcheck.load.client import Traffic, run_schedule
from quantcheck.load.schedule import PHASES, Schedule
from quantcheck.load.sending import Limits
from quantcheck.load.target import target_of

EVENTS = [b'data: {"n":%d}\n\n' % n for n in range(3)] + [b"data: [DONE]\n\n"]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
READ_BYTES = 1 << 16


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked(*parts: bytes) -> bytes:
    """A whole response, each part a chunk of it."""
    return HEAD + b"".join(map(chunk, parts)) + b"0\r\n\r\n"


@dataclass(frozen=True)
class Asked:
    """One request as it came: its id (-1: no number), head and body; when all of it was read (CLOCK_MONOTONIC ns)."""

    id: int
    head: bytes
    body: bytes
    at_ns: int


class Peer:
    """One connection, seen from the server."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock, self.number = sock, number
        self._rest = b""

    def ask(self, step: Callable[[], object] = lambda: None) -> Asked | None:
        """The next request; None when the client is gone. `step` is called before each read of its body."""
        data = self._rest
        while b"\r\n\r\n" not in data:
            more = self._read()
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        parts, missing = [body], int(fields.get(b"content-length", 0)) - len(body)
        while missing > 0:
            step()
            more = self._read()
            if not more:
                return None
            parts.append(more)
            missing -= len(more)
        whole = b"".join(parts)
        end = len(whole) + min(0, missing)
        self._rest = whole[end:]
        number = fields.get(b"x-request-id", b"")
        return Asked(int(number) if number.isdigit() else -1, head, whole[:end], time.monotonic_ns())

    def _read(self) -> bytes:
        with suppress(ConnectionError):
            return self.sock.recv(READ_BYTES)
        return b""

    def send(self, data: bytes) -> None:
        with suppress(ConnectionError):
            self.sock.sendall(data)

    def said_something(self) -> bool:
        """Whether there is something to read (a request, or the connection's end)."""
        return bool(self._rest) or bool(select.select([self.sock], [], [], 0)[0])

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_gone(self) -> None:
        """Until the client closes."""
        while self._read():
            pass


@dataclass
class Server:
    """`serve` is called for every connection, in a thread of its own; the connection ends with it.

    `asked`: all requests that `answer`-style scripts noted, in order; `connections`: how many there were. What a
    script raises (a failed assertion, too) is raised at the end.
    """

    serve: Callable[["Server", Peer], None]
    receive_bytes: int | None = None
    family: socket.AddressFamily = socket.AF_INET
    context: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    errors: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.socket(self.family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.receive_bytes:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_bytes)
        self._listener.bind(("127.0.0.1" if self.family == socket.AF_INET else "::1", 0))
        self._listener.listen(512)
        self.port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    @property
    def url(self) -> str:
        scheme = "http" if self.context is None else "https"
        return f"{scheme}://{'127.0.0.1' if self.family == socket.AF_INET else '[::1]'}:{self.port}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self._open.add(sock)
                thread = threading.Thread(target=self._one, args=(Peer(sock, self.connections),), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _one(self, peer: Peer) -> None:
        try:
            if self.context is not None:
                peer.sock = self.context.wrap_socket(peer.sock, server_side=True)
            self.serve(self, peer)
        except ssl.SSLError:
            pass  # a client that does not trust us
        except BaseException as error:  # noqa: BLE001 - told at the end, by the test's own thread
            self.errors.append(error)
        finally:
            peer.sock.close()
            self._open.discard(peer.sock)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
        if self.errors and error is None:
            raise self.errors[0]


def answering(*answer: bytes, pause_s: float = 0.0, times: int | None = None) -> Callable[[Server, Peer], None]:
    """A script: every request gets these pieces, each sent on its own; after `times` requests the server closes."""

    def serve(server: Server, peer: Peer) -> None:
        done = 0
        while (times is None or done < times) and (asked := peer.ask()):
            server.asked.append(asked)
            for piece in answer:
                peer.send(piece)
                if pause_s:
                    time.sleep(pause_s)
            done += 1

    return serve


def schedule(
    measured: int, *, warmup: int = 0, tail: int = 0, streams: int | None = None,
    due_s: Sequence[float] | None = None, bodies: Sequence[bytes] | None = None, wanted: int = 4,
) -> Schedule:
    """`warmup` requests for each of `streams` (in an open loop: in all), then `measured` and `tail` ones."""
    first = warmup * (streams or 1)
    count = first + measured + tail
    stream = np.full(count, -1, np.int32)
    if streams and warmup:
        stream[:first] = np.repeat(np.arange(streams), warmup)
    return Schedule(
        phase=np.repeat(np.arange(3, dtype=np.int8), [first, measured, tail]),
        due_ns=None if due_s is None else np.rint(1e9 * np.asarray(due_s)).astype(np.int64),
        stream=stream,
        prompt_tokens=np.full(count, 8, np.int32),
        output_tokens=np.full(count, wanted, np.int32),
        forced=True,
        bodies=bodies if bodies is not None else [json.dumps({"n": n}).encode() for n in range(count)],
        sha256="",
    )


def send(
    url: str, plan: Schedule, streams: int | None = None, *, workers: int | None = None, timeout_s: float = 10.0,
    **limits: Any,
) -> Traffic:
    """Runs a schedule; `limits` are those of `Limits`, options of `run_schedule` may be among them."""
    options = {key: limits.pop(key) for key in list(limits) if key not in Limits.__dataclass_fields__}
    return run_schedule(target_of(url), plan, path="/v1/completions", streams=streams,
                        limits=Limits(request_timeout_s=timeout_s, **limits), workers=workers, **options)


def by_phase(traffic: Traffic) -> dict[str, list[int]]:
    """The requests of each phase, sorted."""
    return {phase: sorted(exchange.request for exchange in traffic.exchanges if exchange.phase == phase)
            for phase in PHASES}
