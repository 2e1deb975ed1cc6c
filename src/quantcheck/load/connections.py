"""The sockets of a worker: opened without waiting, kept while the server keeps them."""

import errno
import select
import socket
import time

from quantcheck.load.flight import Flight
from quantcheck.load.handover import Job, Request

__all__ = ["Connection", "Connections"]

SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
KEPT_NS = 1_000_000_000
"""A connection that the server closes within this of an answer shows that it does not keep connections."""


class Connection:
    """One socket. `request`: what it is there for; `flight`: what is under way on it; `rest`: what is left to send.

    `ready_ns`: when it was open, 0 before; `idle_ns`: when its last answer was whole, 0 when it never had one.
    `broken`: why it could not be written to; there may still be something to read.
    """

    __slots__ = ("broken", "fd", "flight", "idle_ns", "opened_ns", "ready_ns", "receive", "request", "rest", "sock",
                 "writing")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.receive = sock.recvmsg
        self.flight: Flight | None = None
        self.request: Request | None = None
        self.rest: list[memoryview] = []
        self.broken: OSError | None = None
        self.opened_ns = time.monotonic_ns()
        self.ready_ns = self.idle_ns = 0
        self.writing = False


class Connections:
    """All open connections by file descriptor, and those of them that are idle.

    A server that closes connections after an answer is found out (`keep` turns false); each request then gets a
    new one. `opened`, `closed_idle`: how many were opened, and how many the server closed while they were idle.
    """

    def __init__(self, job: Job, epoll: select.epoll) -> None:
        self._job = job
        self._epoll = epoll
        self._idle: list[Connection] = []
        self.by_fd: dict[int, Connection] = {}
        self.keep = True
        self.opened = self.closed_idle = 0

    def take_idle(self) -> Connection | None:
        """The connection that was used last, if one is idle."""
        while self.keep and self._idle:
            connection = self._idle.pop()
            if self.alive(connection):
                return connection
        return None

    def open(self) -> tuple[Connection, int]:
        """A connection that is being opened, and the error code with which that failed at once (0: it did not)."""
        sock = socket.socket(socket.AF_INET6 if ":" in self._job.host else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._job.kernel_stamps:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        connection = Connection(sock)
        code = sock.connect_ex((self._job.host, self._job.port))
        self.opened += 1
        self.by_fd[connection.fd] = connection
        self._epoll.register(connection.fd, select.EPOLLIN | select.EPOLLOUT)
        return connection, 0 if code == errno.EINPROGRESS else code

    def opened_now(self, connection: Connection) -> int:
        """Notes that it is open, or answers with the error code of why it is not."""
        code = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            connection.ready_ns = time.monotonic_ns()
            self._epoll.modify(connection.fd, select.EPOLLIN)
        return code

    def want_to_write(self, connection: Connection, wanted: bool) -> None:
        """Whether epoll shall tell when there is room to write."""
        if wanted != connection.writing:
            connection.writing = wanted
            self._epoll.modify(connection.fd, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def release(self, connection: Connection, now_ns: int, *, keep: bool) -> None:
        """Its answer is over: it becomes idle, or is closed."""
        connection.flight = connection.request = None
        if keep and self.keep:
            connection.idle_ns = now_ns
            self._idle.append(connection)
        else:
            self.close(connection)

    def ended_idle(self, connection: Connection) -> None:
        """The server has closed an idle connection, or said something unasked."""
        self.closed_idle += 1
        if connection.idle_ns and time.monotonic_ns() - connection.idle_ns < KEPT_NS:
            self.keep = False
        self.close(connection)

    def alive(self, connection: Connection) -> bool:
        return self.by_fd.get(connection.fd) is connection

    def close(self, connection: Connection) -> None:
        if self.alive(connection):
            del self.by_fd[connection.fd]
            connection.sock.close()
