"""The event loop: one thread, epoll, raw non-blocking sockets, and a heap of what is due.

The clock is read immediately before every `send`. Between sends the loop reads what has come (each read is stamped
when it returns, and parsed when no chunk waits for it), and writes the log when there is time. It sleeps in
`select` on the epoll descriptor, because epoll's own timeouts are whole milliseconds.
"""

import gc
import heapq
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count, pairwise

from quantcheck.engines.fake.journal import Journal, Record
from quantcheck.engines.fake.plan import Plan, Then
from quantcheck.engines.fake.wire import BadRequest, HttpRequest, RequestReader

__all__ = ["Answer", "Connection", "Loop"]

BURST = 32
"""Most sends, reads or accepts in a row before the others have their turn."""
READ = 65_536
CONTROL = 64
SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
TIMESPEC = struct.Struct("=qq")
QUIET_NS = 400_000
EARLY_NS = 200_000
COLLECT_S = 1.0
LINGER_NEVER = struct.pack("ii", 1, 0)


class Answer:
    """One response on its way: the steps of its plan; `record` is None for all but generations."""

    __slots__ = ("connection", "counts", "data", "due", "gaps", "over", "record", "rest", "sent", "step", "then")

    def __init__(self, connection: "Connection", plan: Plan, record: Record | None = None) -> None:
        self.connection = connection
        self.due, self.data, self.counts = plan.due_ns, plan.data, plan.counts
        self.then: Then = plan.then
        self.record = record
        self.sent: list[int] = []
        self.step = 0
        self.rest: memoryview | None = None
        self.gaps: list[int] | None = None
        self.over = False


class Connection:
    """One client; one answer at a time, further requests wait in `requests`."""

    __slots__ = ("answer", "busy", "closed", "fd", "reader", "requests", "send", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.fd, self.send = sock, sock.fileno(), sock.send
        self.reader = RequestReader()
        self.requests: deque[tuple[HttpRequest, int, int]] = deque()
        self.busy = False
        self.answer: Answer | None = None
        self.closed = False


class Loop:
    """`on_request(connection, request, read_ns, arrived_ns)` must lead to one `begin`, now or later (never, when the
    connection is closed by then); `on_over(answer, client_left)` follows, or `on_death(answer)`, which does not return.
    `arrived_ns` is the kernel's receive stamp, brought to CLOCK_MONOTONIC.

    `split`, `knee`: as in the script; `hold_until()`: 0, or until when (ns) nothing may be read or sent.
    """

    def __init__(self, journal: Journal, *, on_request: Callable[[Connection, HttpRequest, int, int], None],
                 on_over: Callable[[Answer, bool], None], on_death: Callable[[Answer], None],
                 split: int | None = None, knee: int | None = None,
                 hold_until: Callable[[], int] | None = None) -> None:
        self._journal, self._split, self._knee, self._hold_until = journal, split, knee, hold_until
        self._on_request, self._on_over, self._on_death = on_request, on_over, on_death
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._heap: list[tuple[int, int, Answer]] = []
        self._number = count()
        self._inbox: deque[tuple[Connection, bytes, int, int]] = deque()
        self._live: set[Answer] = set()
        self._stop_fd = -1
        self.stopping = False
        self.busy = 0
        self.chunks = 0
        self.late_ns = 0

    def watch(self, fd: int, handler: Callable[[int], None], *, stop: bool = False) -> None:
        """Calls `handler(events)` when `fd` can be read; `stop`: also while everything is held."""
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)
        if stop:
            self._stop_fd = fd

    def adopt(self, sock: socket.socket) -> None:
        """Serves a connection."""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        connection = Connection(sock)
        self.watch(connection.fd, partial(self._on_event, connection))

    def begin(self, answer: Answer) -> None:
        """Starts an answer on an open connection."""
        connection = answer.connection
        self._live.add(answer)
        connection.answer = answer
        if answer.data:
            if self._knee is not None:
                answer.gaps = [after - before for before, after in pairwise(answer.due)]
            heapq.heappush(self._heap, (answer.due[0], next(self._number), answer))
        else:
            self._finish(answer)

    def run(self) -> None:
        """Until `stopping`."""
        journal, inbox, heap = self._journal, self._inbox, self._heap
        poll, clock = self._epoll.poll, time.monotonic_ns
        epoll_fd = [self._epoll.fileno()]
        touched = True
        while not self.stopping:
            if self._hold_until is not None:
                self._hold(self._hold_until())
            self._send_due()
            if inbox:
                self._take(*inbox.popleft())
            events = poll(0, BURST)
            for fd, mask in events:
                handler = self._handlers.get(fd)
                if handler is not None:  # an earlier event of this round may have closed it
                    handler(mask)
            if journal.urgent:
                journal.write(1)
            if events or inbox:
                touched = True
                continue
            wait_ns = heap[0][0] - clock() if heap else -1
            if heap and wait_ns <= 0:
                continue
            if journal and (not heap or wait_ns > QUIET_NS):
                journal.write(max(1, wait_ns // QUIET_NS) if heap else 64)
            elif heap:
                # A core that has slept long wakes late; asleep for a moment only, it wakes within some 30 us.
                select.select(epoll_fd, (), (), (wait_ns - EARLY_NS if wait_ns > 3 * EARLY_NS else wait_ns) / 1e9)
            elif not select.select(epoll_fd, (), (), COLLECT_S if touched else None)[0]:
                gc.collect()  # only here: the collector is off
                touched = False

    def drain(self) -> None:
        """At the end: notes which clients have left, ends what is still on its way."""
        for fd, mask in self._epoll.poll(0):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(mask)
        for answer in list(self._live):
            self._end(answer, left=False)

    def _hold(self, until_ns: int) -> None:
        while not self.stopping and (left_ns := until_ns - time.monotonic_ns()) > 0:
            if select.select([self._stop_fd], (), (), left_ns / 1e9)[0]:
                self._handlers[self._stop_fd](select.EPOLLIN)

    def _send_due(self) -> None:
        """The hot path: sends what is due, at most BURST steps."""
        heap, clock, split = self._heap, time.monotonic_ns, self._split
        for _ in range(BURST):
            if not heap:
                return
            due, _, answer = heap[0]
            if answer.over:
                heapq.heappop(heap)
                continue
            k = answer.step
            data, send = answer.data[k], answer.connection.send
            now = clock()
            if now < due:
                return
            if split is None:
                try:
                    sent = send(data)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    heapq.heappop(heap)
                    self._lose(answer.connection)
                    continue
                if sent < len(data):
                    heapq.heappop(heap)
                    self._block(answer, memoryview(data)[sent:])
                    continue
            else:
                answer.rest = memoryview(data)
                now = self._push(answer)
                if now < 0:
                    heapq.heappop(heap)
                    continue
            if self._sent(answer, k, now):
                heapq.heapreplace(heap, (answer.due[k + 1], next(self._number), answer))
            else:
                heapq.heappop(heap)
                self._finish(answer)

    def _sent(self, answer: Answer, k: int, now: int) -> bool:
        """Notes that step k was handed to the kernel at `now`; whether there is another."""
        answer.sent.append(now)
        carried = answer.counts[k]
        if carried:
            self.chunks += len(carried)
            late = now - answer.due[k]
            if late > self.late_ns:
                self.late_ns = late
        answer.step = k + 1
        if k + 1 == len(answer.data):
            return False
        if answer.gaps is not None and self._knee is not None:
            slower = max(1.0, self.busy / self._knee) if carried else 1.0
            answer.due[k + 1] = answer.due[k] + round(answer.gaps[k] * slower)
        return True

    def _push(self, answer: Answer) -> int:
        """Sends an answer's rest, in pieces if the script says so: the stamp before the last of them, or -1."""
        rest, connection = answer.rest, answer.connection
        assert rest is not None
        size = self._split or len(rest)
        while True:
            piece = rest[:size]
            now = time.monotonic_ns()
            try:
                sent = connection.send(piece)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._lose(connection)
                return -1
            rest = rest[sent:]
            if not rest:
                answer.rest = None
                return now
            if sent < len(piece):
                self._block(answer, rest)
                return -1

    def _block(self, answer: Answer, rest: memoryview) -> None:
        """The kernel takes no more: the answer goes on when it does, and stamps its chunk before what completes it."""
        answer.rest = rest
        self._epoll.modify(answer.connection.fd, select.EPOLLIN | select.EPOLLOUT)

    def _on_event(self, connection: Connection, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._unblock(connection)
        if mask & ~select.EPOLLOUT and not connection.closed:
            control: list[tuple[int, int, bytes]] = []
            try:
                data, control, _, _ = connection.sock.recvmsg(READ, CONTROL)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            read_ns = time.monotonic_ns()
            if data:
                self._inbox.append((connection, data, read_ns, _arrived_ns(control, read_ns)))
            else:
                self._lose(connection)

    def _unblock(self, connection: Connection) -> None:
        answer = connection.answer
        if answer is not None and answer.rest is not None:
            k = answer.step
            now = self._push(answer)
            if now < 0:
                return
            self._epoll.modify(connection.fd, select.EPOLLIN)
            if self._sent(answer, k, now):
                heapq.heappush(self._heap, (answer.due[k + 1], next(self._number), answer))
            else:
                self._finish(answer)

    def _take(self, connection: Connection, data: bytes, read_ns: int, arrived_ns: int) -> None:
        if connection.closed:
            return
        try:
            found = connection.reader.feed(data)
        except BadRequest:
            if connection.busy:
                self._lose(connection)
            else:
                with suppress(OSError):
                    connection.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                self._close(connection)
            return
        connection.requests.extend((request, read_ns, arrived_ns) for request in found)
        if connection.reader.continues and not connection.busy:
            connection.reader.continues = False
            with suppress(OSError):
                connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        if connection.requests and not connection.busy and not connection.closed:
            connection.busy = True
            self._on_request(connection, *connection.requests.popleft())

    def _finish(self, answer: Answer) -> None:
        """All steps are sent."""
        connection = answer.connection
        if answer.then == "hold":
            return
        if answer.then == "die":
            self._on_death(answer)
        if answer.then == "reset":
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NEVER)
        if answer.then in ("close", "reset"):
            self._close(connection)
        self._end(answer, left=False)
        self._next(connection)

    def _end(self, answer: Answer, *, left: bool) -> None:
        answer.over = True
        answer.connection.answer, answer.connection.busy = None, False
        self._live.discard(answer)
        self._on_over(answer, left)

    def _lose(self, connection: Connection) -> None:
        self._close(connection)
        if connection.answer is not None:
            self._end(connection.answer, left=True)

    def _close(self, connection: Connection) -> None:
        if not connection.closed:
            connection.closed = True
            del self._handlers[connection.fd]
            self._epoll.unregister(connection.fd)
            connection.reader.close()
            connection.sock.close()


def _arrived_ns(control: list[tuple[int, int, bytes]], read_ns: int) -> int:
    """The kernel's receive stamp, of CLOCK_REALTIME, on CLOCK_MONOTONIC; `read_ns` when there is none."""
    if not control:
        return read_ns
    seconds, nanoseconds = TIMESPEC.unpack(control[0][2])
    # The closest of three readings of both clocks: whoever is interrupted between the two would bend the truth.
    _, ahead_ns = min(_ahead_ns() for _ in range(3))
    return int(min(read_ns, seconds * 1_000_000_000 + nanoseconds + ahead_ns))


def _ahead_ns() -> tuple[int, int]:
    """How long both clocks' reading took, and by how much the monotonic one is ahead, within half of that."""
    before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
    return after - before, (before + after) // 2 - real
