"""The fake server's process: `python -m quantcheck.engines.fake.server SCRIPT`.

A plain asyncio protocol: all bytes of a stream are built when its request arrives, each chunk is then written at
its due time, and the clock is read immediately before the write. A request's record goes to the log when the
request is over, as one JSON line (see `_Record`). Clock: time.monotonic_ns, which processes of one machine share.
"""

import asyncio
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from quantcheck.engines.fake import dialect
from quantcheck.engines.fake.script import Fault, Script
from quantcheck.engines.loopback import LOOPBACK
from quantcheck.engines.ready import announce

__all__ = ["EXIT_SCRIPTED", "main"]

EXIT_SCRIPTED = 70
ROUTES: dict[str, dialect.Kind] = {
    "/v1/completions": "completion", "/v1/chat/completions": "chat", "/completion": "llama",
}


@dataclass(slots=True)
class _Record:
    """What was done for one request: times in ns, one entry of the lists per chunk that carries tokens."""

    request: str
    kind: str
    prompt_tokens: int
    wanted: int
    fault: str | None
    read_ns: int
    due_ns: list[int] = field(default_factory=list)
    sent_ns: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    end_ns: int | None = None
    client_left: bool = False


class _Server:
    """State that the connections share."""

    def __init__(self, script: Script, log: TextIO | None) -> None:
        self.script = script
        self.fault = Fault.parse(script.fault) if script.fault else None
        self.requests = 0
        self.busy = 0
        self._log = log

    def write(self, record: _Record) -> None:
        if self._log is not None:
            self._log.write(json.dumps(asdict(record)) + "\n")
            self._log.flush()


class _Connection(asyncio.Protocol):
    """One client connection; one request at a time, kept alive between them."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next_request()

    def _next_request(self) -> None:
        if self._task is not None:
            return
        head, blank, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not blank:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        self._buffer = bytearray(rest[length:])
        method, path, _ = first.split(" ", 2)
        coroutine = self._answer(method, path.partition("?")[0], headers, rest[:length], time.monotonic_ns())
        self._task = asyncio.get_running_loop().create_task(coroutine)
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.result()
            self._next_request()

    def _send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def _send_json(self, data: Any, status: str = "200 OK", extra: str = "", kind: str = "application/json") -> None:
        body = data.encode() if isinstance(data, str) else json.dumps(data).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        self._send(head.encode() + body)

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes, read_ns: int) -> None:
        server, script = self._server, self._server.script
        if path == "/health":
            healthy = server.fault is None or server.fault.kind != "never-healthy"
            self._send_json({"status": "ok"} if healthy else {"error": {"message": "scripted: never healthy"}},
                            "200 OK" if healthy else "503 Service Unavailable")
        elif path == "/v1/models":
            self._send_json({"object": "list", "data": [{"id": script.model, "object": "model"}]})
        elif path == "/metrics":
            self._send_json(f"llamacpp:requests_processing {server.busy}\n", kind="text/plain")
        elif path == "/tokenize" and method == "POST":
            self._send_json({"tokens": list(str(json.loads(body).get("content", "")).encode())})
        elif path in ROUTES and method == "POST":
            try:
                request = dialect.read(ROUTES[path], json.loads(body), script.model, script.answers)
            except (KeyError, TypeError, ValueError) as error:
                self._send_json({"error": {"message": f"bad request: {error!r}"}}, "400 Bad Request")
                return
            server.requests += 1
            record = _Record(headers.get("x-request-id", str(server.requests)), request.kind, request.prompt_tokens,
                             len(request.pieces), None, read_ns)
            await self._generate(request, record, server.requests)
        else:
            self._send_json({"error": {"message": f"no route {method} {path}"}}, "404 Not Found")

    async def _generate(self, request: dialect.Request, record: _Record, number: int) -> None:
        server, fault = self._server, self._server.fault
        strikes = fault is not None and fault.kind not in ("never-healthy", "port-in-use") and fault.strikes(number)
        kind = fault.kind if fault is not None and strikes else ""
        record.fault = kind or None
        server.busy += 1
        try:
            if kind in ("status-429", "status-500"):
                status = "429 Too Many Requests" if kind == "status-429" else "500 Internal Server Error"
                self._send_json({"error": {"message": "scripted"}}, status, "Retry-After: 1\r\n")
            elif kind == "hang":
                await asyncio.Event().wait()
            elif request.stream:
                await self._stream(request, record, kind)
            else:
                due = self._server.script.due_s(len(request.pieces))
                await _until(record.read_ns + round(1e9 * (due[-1] if due else 0.0)))
                record.sent_ns.append(time.monotonic_ns())
                record.tokens.append(len(request.pieces))
                self._send_json(dialect.whole(request))
        except asyncio.CancelledError:
            record.client_left = True
            raise
        finally:
            server.busy -= 1
            record.end_ns = time.monotonic_ns()
            server.write(record)

    async def _stream(self, request: dialect.Request, record: _Record, kind: str) -> None:
        chunks = list(self._chunks(request, kind))
        half = len(chunks) // 2
        self._send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        role = dialect.first_event(request)
        if role is not None:
            self._send(_chunked(role))
        for place, (due_s, tokens, data) in enumerate(chunks):
            due_ns = record.read_ns + round(1e9 * due_s)
            await _until(due_ns)
            if place == half and kind and await self._strike(kind, place, record):
                return
            record.due_ns.append(due_ns)
            record.tokens.append(tokens)
            record.sent_ns.append(time.monotonic_ns())
            self._send(data)
        if kind != "no-done":
            self._send(_chunked(dialect.last_events(request, sum(record.tokens))))
        self._send(b"0\r\n\r\n")

    async def _strike(self, kind: str, place: int, record: _Record) -> bool:
        """What a fault does half-way; true when the stream is over with it."""
        assert self._transport is not None
        if kind == "die-after":
            self._server.write(record)
            os._exit(EXIT_SCRIPTED)
        elif kind == "cut":
            self._transport.close()
        elif kind == "reset":
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        elif kind == "error-event":
            self._send(_chunked(dialect.ERROR_EVENT) + b"0\r\n\r\n")
        elif kind == "garbage":
            self._send(_chunked(b"data: {not json\n\n"))
            return False
        elif kind == "stall":
            await asyncio.Event().wait()
        else:
            return False
        return True

    def _chunks(self, request: dialect.Request, kind: str) -> Iterator[tuple[float, int, bytes]]:
        """(due time in s after the request, tokens, bytes) of each chunk with tokens."""
        script, total = self._server.script, len(request.pieces)
        count = {"empty": 0, "short": total // 2}.get(kind, total)
        starts = range(0, count, script.tokens_per_chunk)
        for start, due_s in zip(starts, script.due_s(len(starts)), strict=True):
            end = min(count, start + script.tokens_per_chunk)
            yield due_s, end - start, _chunked(dialect.event(request, start, end))


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _until(due_ns: int) -> None:
    delay = (due_ns - time.monotonic_ns()) / 1e9
    if delay > 0:
        await asyncio.sleep(delay)


async def _serve(script: Script, log: TextIO | None) -> None:
    state, loop = _Server(script, log), asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(state), LOOPBACK, script.port, backlog=4096)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    port = server.sockets[0].getsockname()[1]
    announce({"base_url": f"http://{LOOPBACK}:{port}"})
    await stopped.wait()
    server.close()


def main(argv: list[str]) -> int:
    """Serves until SIGTERM."""
    script = Script.from_json(argv[1])
    time.sleep(script.start_delay_s)
    if script.fault == "die-at-start":
        print("quantcheck fake engine: scripted death at start", flush=True)
        return EXIT_SCRIPTED
    with ExitStack() as files:
        log = files.enter_context(Path(script.log).open("w", encoding="utf-8")) if script.log else None
        asyncio.run(_serve(script, log))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
