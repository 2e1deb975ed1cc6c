"""The loop for what the plain one cannot do: HTTPS, and proxies. aiohttp receives; stamps are this process's own.

Same job, same files, same rules as `wire.py`; slower, and later by the library's work on each read. The record says
which of the two it was (`transport`).
"""

import asyncio
import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import aiohttp

from quantcheck.load.flight import Fault, Flight
from quantcheck.load.handover import MEASURED, TAIL, TICK_NS, Board, Job, Request
from quantcheck.load.sender import Sender

__all__ = ["LibraryWire"]

TICK_S = TICK_NS / 1e9

clock = time.monotonic_ns


class LibraryWire(Sender):
    """The loop of aiohttp."""

    transport = "aiohttp (HTTPS or a proxy): user-space stamps"

    def __init__(
        self, job: Job, worker: int, board: Board, warmup: list[deque[Request]], measured: deque[Request],
        tail: deque[Request],
    ) -> None:
        super().__init__(job, worker, board, warmup, measured, tail)
        self._waiting = self._left
        self._url = f"{'https' if job.secure else 'http'}://{job.headers['Host']}{job.path}"
        self._time_over = False

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        # Without the header a server has no reason to compress, and so to hold back, what it streams.
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=timeout, trace_configs=[self._tracing()],
            skip_auto_headers=["Accept-Encoding"],
        ) as session:
            await self._until(0)
            if self._job.streams:
                work = [self._stream(session, k) for k in range(len(self._warmup))]
            else:
                work = [self._at(session, request) for request in [*self._measured, *self._tail]]
            tasks = [asyncio.create_task(one) for one in work]
            await self._watch(tasks)
            for task in tasks:
                task.cancel()
            for found in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(found, Exception):
                    raise found

    async def _watch(self, tasks: list[asyncio.Task[None]]) -> None:
        job, board = self._job, self._board
        end = time.monotonic() + job.run_timeout_s
        horizon = time.monotonic() + job.duration_s if job.duration_s else None
        while not board.stop and not self._over() and not all(task.done() for task in tasks):
            self.counts.tick(clock())
            self._tell()
            if horizon is not None and time.monotonic() > horizon:
                self._left -= len(self._measured) if job.streams else self._waiting
                self._measured.clear()
                self._time_over = True
                horizon = None
            if time.monotonic() > end:
                self._end_early(f"the run's deadline of {job.run_timeout_s:g} s passed")
            elif reason := self.counts.silence(job):
                self._end_early(reason)
            await asyncio.sleep(TICK_S)

    def _tracing(self) -> aiohttp.TraceConfig:
        """Tells a request whether it has a kept connection, and counts those that are opened."""
        async def reused(_session: object, context: SimpleNamespace, _facts: object) -> None:
            context.trace_request_ctx.reused = True

        async def opened(_session: object, _context: object, _facts: object) -> None:
            self.counts.connections += 1

        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(reused)
        tracing.on_connection_create_start.append(opened)
        return tracing

    async def _stream(self, session: aiohttp.ClientSession, k: int) -> None:
        await self._until(self._job.begins_ns(k, self._worker))
        while queue := self._warmup[k] or self._measured or self._tail:
            request = queue.popleft()
            request.stream = k * self._job.workers + self._worker
            fault = await self._send(session, request)
            if request.phase == TAIL and fault is not None:
                return

    async def _at(self, session: aiohttp.ClientSession, request: Request) -> None:
        await self._until(request.due_ns)
        if self._left if request.phase == TAIL else not self._time_over:
            self._waiting -= request.phase == MEASURED
            await self._send(session, request)

    async def _until(self, after_ns: int) -> None:
        """Waits until so long after the start."""
        await asyncio.sleep(max(0.0, (self._board.start_ns + after_ns - clock()) / 1e9))

    async def _send(self, session: aiohttp.ClientSession, request: Request) -> Fault | None:
        head, body = request.parts
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
        flight = Flight(request.index, request.stream, request.phase)
        self._sent += 1
        try:
            await self._send_until_read(session, flight, headers, bytes(body))
        except TimeoutError:
            flight.fault = "stalled" if flight.has_body() else "no_first_byte"
            flight.detail = f"no whole answer within {(clock() - flight.sent_ns) / 1e9:.1f} s"
        except aiohttp.ClientConnectorError as error:
            flight.fault, flight.detail = "refused", str(error)
        except (aiohttp.ClientError, OSError) as error:
            flight.fault = "reset" if _was_reset(error) else "cut"
            flight.detail = str(error) or type(error).__name__
        except asyncio.CancelledError:
            flight.fault = "cancelled"
            raise
        finally:
            flight.end_ns = clock()
            self._ended(flight)
            self.harvest.add(flight, self.counts)
        return flight.fault

    async def _send_until_read(
        self, session: aiohttp.ClientSession, flight: Flight, headers: dict[str, str], body: bytes
    ) -> None:
        """A request that met a kept connection's end, and so was read by nobody, is sent anew."""
        while True:
            use = SimpleNamespace(reused=False)
            flight.sent_ns = clock()
            try:
                async with asyncio.timeout(self._job.request_timeout_s):
                    return await self._receive(session, flight, headers, body, use)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if flight.reads or not use.reused:
                    raise
                self.counts.resent.add(flight.request)

    async def _receive(
        self, session: aiohttp.ClientSession, flight: Flight, headers: dict[str, str], body: bytes, use: Any
    ) -> None:
        job = self._job

        def keep(data: bytes) -> None:
            flight.keep((data, clock(), []))

        async with asyncio.timeout(job.first_byte_timeout_s) as first_byte, session.post(
            self._url, data=body, headers=headers, proxy=job.proxy, trace_request_ctx=use
        ) as response:
            # The head as it would have come on the wire, without length or chunks: the library has taken those off.
            lines = [f"{name}: {value}" for name, value in response.headers.items()
                     if name.lower() not in ("content-length", "transfer-encoding", "content-encoding")]
            keep("\r\n".join([f"HTTP/1.1 {response.status} -", *lines, "\r\n"]).encode("latin-1", "replace"))
            async for data in response.content.iter_any():
                first_byte.reschedule(None)
                keep(data)


def _was_reset(error: BaseException | None) -> bool:
    """Amid a body the library tells of it in the message alone."""
    if ConnectionResetError.__name__ in str(error):
        return True
    while error is not None and not isinstance(error, ConnectionResetError | BrokenPipeError):
        error = error.__cause__ or error.__context__
    return error is not None
