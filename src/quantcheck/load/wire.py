"""The client's event loop: non-blocking sockets on epoll, one stamp and one append per read, nothing parsed.

Connections are opened before their request's send time; opening one is no part of a latency. Plain TCP only:
`library_wire.py` is for the rest.
"""

import errno
import select
import time
from collections import deque

import httptools

from quantcheck.load.connections import Connection, Connections
from quantcheck.load.flight import EMPTY_LINE, Fault, Flight
from quantcheck.load.handover import MEASURED, TAIL, TICK_NS, Board, Job, Request
from quantcheck.load.sender import Sender

__all__ = ["Wire"]

READ_BYTES = 16384
CONTROL_BYTES = 32
TICK_S = TICK_NS / 1e9
EPOLLIN = select.EPOLLIN
DEADLINE_TICKS = 5
LEAD_NS = 50_000_000
"""How long before its request's due time a connection is opened (open loop)."""
GATHER_S, GATHER_FROM, GATHERED = 0.001, 512, 32
"""With so many requests in flight and the kernel stamping what comes, a look that found little is followed by a pause:
the next one finds more, which saves a fifth of the CPU time."""
SPIN_TO = 8
"""With user stamps and so few requests in flight the loop never sleeps: a virtual core takes 0.1 to 0.4 ms to wake up,
and no kernel stamp tells how long the data lay there. It costs a core, so it is only done where it was asked for."""
FINE_NS = 2_500_000
"""Waits shorter than this are left to select(2), because epoll rounds up to milliseconds."""
PACK_PER_TICK, PACK_AHEAD = 8, 256
"""Finished flights that are packed at a tick, and that may wait for one."""

clock = time.monotonic_ns


class Wire(Sender):
    """The loop of plain TCP."""

    transport = "plain TCP"

    def __init__(
        self, job: Job, worker: int, board: Board, warmup: list[deque[Request]], measured: deque[Request],
        tail: deque[Request],
    ) -> None:
        super().__init__(job, worker, board, warmup, measured, tail)
        self._open_loop = job.streams == 0
        self._due: deque[Request] = deque([*measured, *tail]) if self._open_loop else deque()
        self._begins: deque[tuple[int, int]] = deque()  # (ns, stream)
        self._prepared: deque[tuple[Request, Connection]] = deque()
        self._epoll = select.epoll()
        self._connections = Connections(job, self._epoll)
        self._finished: deque[Flight] = deque()
        self._free: deque[int] = deque()
        self._stopped = False

    def run(self) -> None:
        started = self._board.start_ns
        deadline = started + round(self._job.run_timeout_s * 1e9)
        horizon = started + round(self._job.duration_s * 1e9) if self._job.duration_s else None
        for request in self._due:
            request.due_ns += started
        self.counts.read_clocks()
        while (wait := started - clock()) > 0:
            time.sleep(wait / 1e9)
        self._begins.extend((started + self._job.begins_ns(stream, self._worker), stream)
                            for stream in range(len(self._warmup)))
        gather = self._job.kernel_stamps and not self._open_loop
        spin = not self._job.kernel_stamps
        tick, ticks = clock(), 0
        while True:
            if self._open_loop:
                self._send_due()
                events = self._poll(self._next_due(tick + TICK_NS))
            elif self._begins:
                self._begin()
                events = self._poll(self._begins[0][0] if self._begins else tick + TICK_NS)
            else:
                events = self._epoll.poll(0 if spin and self._sent - self._done <= SPIN_TO else TICK_S)
            self._receive(events)
            if gather and len(events) < GATHERED and self._sent - self._done >= GATHER_FROM:
                time.sleep(GATHER_S)
            for _ in range(len(self._free)):
                self._next(self._free.popleft())
            now = clock()
            if now - tick >= TICK_NS:
                tick, ticks = now, ticks + 1
                self.counts.tick(now)
                if ticks % DEADLINE_TICKS == 0:
                    self._enforce_deadlines(now)
                if horizon is not None and now >= horizon:
                    self._end_of_time()
                    horizon = None
                self._tell()
                for _ in range(min(PACK_PER_TICK, len(self._finished))):
                    self._pack()
                if now > deadline and not self._over():
                    self._end_early(f"the run's deadline of {self._job.run_timeout_s:g} s passed")
                if self._stopped or self._board.stop or self._over():
                    break
            elif self._left == 0 and self._over():
                break
        self._let_go()

    def _next_due(self, tick_ns: int) -> int:
        """When an open loop has something to do, the tick at the latest."""
        until = tick_ns
        if self._due:
            until = min(until, self._due[0].due_ns - LEAD_NS)
        if self._prepared:
            until = min(until, self._prepared[0][0].due_ns)
        return until

    def _poll(self, until_ns: int) -> list[tuple[int, int]]:
        """What is ready, waiting for it until then."""
        wait = until_ns - clock()
        if wait <= 0:
            return self._epoll.poll(0)
        if wait < FINE_NS:
            select.select([self._epoll.fileno()], (), (), wait / 1e9)
            return self._epoll.poll(0)
        return self._epoll.poll((wait // 1_000_000 - 1) / 1e3)

    # -- receiving ---------------------------------------------------------------------------------------------

    def _receive(self, events: list[tuple[int, int]]) -> None:
        """The hot path: a read, a stamp and an append for each event.

        The stamp comes after the read: one for all, when the look at the sockets ended, would be earlier than what came
        in between, and a latency must never be told too short.
        """
        readable, empty_line, read_bytes, now, by_fd = EPOLLIN, EMPTY_LINE, READ_BYTES, clock, self._connections.by_fd
        for fd, event in events:
            connection = by_fd.get(fd)
            if connection is None:  # closed by an earlier event of this round
                continue
            flight = connection.flight
            if flight is None or event != readable or connection.rest:
                self._handle(connection, event)
                continue
            try:
                data, control, _, _ = connection.receive(read_bytes, CONTROL_BYTES)
            except OSError as error:
                self._failed_to_read(connection, flight, error)
                continue
            stamp = now()
            flight.keep((data, stamp, control))
            if data[-4:] == empty_line or len(data) < 4 or not flight.chunked:
                self._look(connection, flight, data, stamp)

    def _handle(self, connection: Connection, event: int) -> None:
        """An event that is not just data for a flight."""
        flight = connection.flight
        if flight is None or connection.rest:
            self._not_reading(connection, event)
        if flight is None or connection.flight is not flight or not event & ~select.EPOLLOUT:
            return None
        try:
            data, control, _, _ = connection.receive(READ_BYTES, CONTROL_BYTES)
        except OSError as error:
            return self._failed_to_read(connection, flight, error)
        stamp = clock()
        flight.keep((data, stamp, control))
        return self._look(connection, flight, data, stamp)

    def _failed_to_read(self, connection: Connection, flight: Flight, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._broken(connection, flight, error)

    def _look(self, connection: Connection, flight: Flight, data: bytes, stamp: int) -> None:
        """Whether the response is whole now, or the connection at its end."""
        if not data:
            flight.reads.pop()
            return self._closed(connection, flight, stamp)
        try:
            whole = flight.look()
        except httptools.HttpParserError as error:
            flight.detail = f"not HTTP: {error}"
            return self._end(connection, flight, stamp, "cut")
        if whole:
            self._end(connection, flight, stamp, None, keep=flight.end.keep_alive)
        return None

    def _not_reading(self, connection: Connection, event: int) -> None:
        """A connection that is being opened or written to, or is idle and has something to say."""
        if not connection.ready_ns:
            if code := self._connections.opened_now(connection):
                self._refused(connection, code)
            elif connection.request is not None:
                self._write(connection, connection.request)
        elif connection.flight is None:
            self._connections.ended_idle(connection)
        elif event & select.EPOLLOUT:
            self._write_rest(connection, connection.flight)

    # -- sending -----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begins the streams whose time has come."""
        while self._begins and self._begins[0][0] <= clock():
            self._next(self._begins.popleft()[1])

    def _next(self, stream: int) -> None:
        """A closed loop's stream sends its next request, if there is one."""
        queue = self._warmup[stream] or self._measured or self._tail
        if queue and not self._stopped and not self._board.stop and (self._left or not self._over()):
            request = queue.popleft()
            request.stream = stream * self._job.workers + self._worker
            self._assign(request)

    def _assign(self, request: Request) -> Connection | None:
        """Gives the request a connection, and sends it as soon as that is open."""
        connection = self._connections.take_idle() or self._connect(request)
        if connection is not None:
            connection.request = request
            if connection.ready_ns:
                self._write(connection, request)
        return connection

    def _connect(self, request: Request) -> Connection | None:
        """A connection that is being opened; None when it was refused at once, and the request is over with that."""
        connection, code = self._connections.open()
        if code:
            connection.request = request
            self._refused(connection, code)
            return None
        return connection

    def _send_due(self) -> None:
        """Open loop: connections for what is due soon, and off with what is due now."""
        now = clock()
        while self._due and self._due[0].due_ns - LEAD_NS <= now:
            if self._due[0].phase == TAIL and self._over():
                self._due.clear()
                break
            request = self._due.popleft()
            connection = self._connections.take_idle() or self._connect(request)
            if connection is not None:
                self._prepared.append((request, connection))
        while self._prepared and self._prepared[0][0].due_ns <= clock():
            request, connection = self._prepared.popleft()
            if not self._connections.alive(connection):  # it was closed while it waited
                self._assign(request)
                continue
            connection.request = request
            if connection.ready_ns:
                self._write(connection, request)

    def _write(self, connection: Connection, request: Request) -> None:
        flight = connection.flight = Flight(request.index, request.stream, request.phase)
        flight.connected_ns = connection.ready_ns
        self._sent += 1
        head, body = request.parts
        connection.rest = [memoryview(head), body]
        self._write_rest(connection, flight)

    def _write_rest(self, connection: Connection, flight: Flight) -> None:
        rest, send = connection.rest, connection.sock.sendmsg
        # Right before the call: what is looked up between the two is no part of a latency.
        flight.sent_ns = flight.sent_ns or clock()
        try:
            sent = send(rest)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError) as error:
            # The server may have answered before it left, so that what it said is read first.
            connection.broken, sent = error, 0
            rest.clear()
        except OSError as error:
            return self._broken(connection, flight, error)
        while rest and sent >= len(rest[0]):
            sent -= len(rest.pop(0))
        if rest:
            rest[0] = rest[0][sent:]
        return self._connections.want_to_write(connection, bool(rest))

    # -- endings -----------------------------------------------------------------------------------------------

    def _broken(self, connection: Connection, flight: Flight, error: OSError) -> None:
        if not flight.reads and connection.idle_ns:
            return self._again(connection)
        flight.detail = error.strerror or type(error).__name__
        return self._end(connection, flight, clock(), "reset")

    def _closed(self, connection: Connection, flight: Flight, stamp: int) -> None:
        if not flight.reads and connection.idle_ns:
            return self._again(connection)
        if connection.broken is not None:
            return self._broken(connection, flight, connection.broken)
        if flight.whole_when_closed():
            return self._end(connection, flight, stamp, None)
        flight.detail = "the connection ended before the response was whole"
        return self._end(connection, flight, stamp, "cut")

    def _again(self, connection: Connection) -> None:
        """A kept connection was closed before anyone read our request: it is sent anew, on a new connection."""
        request = connection.request
        assert request is not None
        self._connections.keep = False
        self.counts.resent.add(request.index)
        self._sent -= 1
        connection.flight = None
        self._connections.close(connection)
        fresh = self._connect(request)
        if fresh is not None:
            fresh.request = request

    def _refused(self, connection: Connection, code: int) -> None:
        request = connection.request
        self._connections.close(connection)
        if request is not None:  # else it was opened ahead: its request finds out at its own time
            flight = Flight(request.index, request.stream, request.phase)
            flight.sent_ns = connection.opened_ns
            flight.detail = errno.errorcode.get(code, str(code))
            self._sent += 1
            self._end(connection, flight, clock(), "refused")

    def _end(
        self, connection: Connection, flight: Flight, stamp: int, fault: Fault | None, *, keep: bool = False
    ) -> None:
        """The flight is over; a closed loop's stream goes on."""
        flight.end_ns, flight.fault = stamp, fault
        # A server may answer before it has read the whole request: what is left of it would go before the next one.
        self._connections.release(connection, stamp, keep=keep and not connection.rest and connection.broken is None)
        self._ended(flight)
        self._finished.append(flight)
        if len(self._finished) > PACK_AHEAD:
            self._pack()
        if self._open_loop or (flight.phase == TAIL and fault is not None):
            return
        stream = flight.stream // self._job.workers
        if fault is None:
            self._next(stream)
        else:  # not from here: a server that refuses all would have us call ourselves for ever
            self._free.append(stream)

    def _end_of_time(self) -> None:
        """The time is over: no measured request is begun any more, the tail keeps the others company."""
        queue = self._due if self._open_loop else self._measured
        self._left -= sum(request.phase == MEASURED for request in queue)
        queue.clear()

    def _end_early(self, reason: str) -> None:
        super()._end_early(reason)
        self._stopped = True

    def _enforce_deadlines(self, now: int) -> None:
        job = self._job
        limit = round(job.request_timeout_s * 1e9)
        first = round(job.first_byte_timeout_s * 1e9) if job.first_byte_timeout_s else limit
        for connection in list(self._connections.by_fd.values()):
            flight = connection.flight
            if flight is None:
                if connection.request is not None and now - connection.opened_ns > first:
                    self._refused(connection, errno.ETIMEDOUT)
            elif now - flight.sent_ns > limit or (now - flight.sent_ns > first and not flight.has_body()):
                flight.detail = f"no whole answer within {(now - flight.sent_ns) / 1e9:.1f} s"
                self._end(connection, flight, now, "stalled" if flight.has_body() else "no_first_byte")
        if reason := self.counts.silence(job):
            self._end_early(reason)

    def _let_go(self) -> None:
        """What is in flight is kept as far as it came."""
        now = clock()
        self.counts.read_clocks()
        for connection in list(self._connections.by_fd.values()):
            if connection.flight is not None:
                connection.flight.end_ns, connection.flight.fault = now, "cancelled"
                self._finished.append(connection.flight)
            self._connections.close(connection)
        while self._finished:
            self._pack()
        self.counts.connections, self.counts.closed_idle = self._connections.opened, self._connections.closed_idle
        self._epoll.close()

    def _pack(self) -> None:
        self.harvest.add(self._finished.popleft(), self.counts)
