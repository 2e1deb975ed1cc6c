"""The processes of one fake server: started together, given connections in turn, ended together.

The first process accepts and hands every second, third ... connection to another one (SCM_RIGHTS). Sharing the port
(SO_REUSEPORT) spreads connections by a hash, and sharing the listening socket gives them to whoever wakes first: both
leave one process with far more than its part of 1,024 connections that come at once, and a test would then measure that
process. Taking turns is exact, and its cost, some 10 us a connection, is not paid while streams run.
"""

import ctypes
import os
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import partial

from quantcheck.engines.fake.loop import BURST, Loop
from quantcheck.engines.loopback import LOOPBACK

__all__ = ["Family", "listen"]

PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29
GRACE_S = 2.0


def listen(port: int) -> socket.socket:
    """The listening socket; as many connections as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = socket.create_server((LOOPBACK, port), backlog=4096)
    listener.setblocking(False)
    return listener


class Family:
    """`fork` makes processes 1 to `processes - 1` of this one, which is process 0."""

    def __init__(self, processes: int) -> None:
        self._pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(processes - 1)]
        self._children: dict[int, int] = {}
        self._turn = 0
        self._exit = 0
        self.index = 0

    def fork(self) -> None:
        """Returns in every process; `index` then says which one it is. No thread may be running."""
        parent = os.getpid()
        for index in range(1, len(self._pairs) + 1):
            pid = os.fork()
            if pid == 0:
                self.index = index
                self._children = {}
                _prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))  # also when process 0 is killed
                if os.getppid() != parent:
                    os._exit(0)
                break
            self._children[index] = pid
        for index, (near, far) in enumerate(self._pairs, 1):
            if self.index == 0:
                far.close()
            else:
                near.close()
                if index != self.index:
                    far.close()
        _prctl(PR_SET_TIMERSLACK, 1)  # sleep to the microsecond; the default adds 50

    def join(self, loop: Loop, listener: socket.socket) -> None:
        """Connects this process's loop: signals, connections, and the end of the others.

        In process 0 it returns when all others are ready to serve.
        """
        self._loop, self._listener = loop, listener
        woken, self._wake = socket.socketpair()
        woken.setblocking(False)
        self._wake.setblocking(False)
        self._woken = woken
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        loop.watch(woken.fileno(), self._on_wake, stop=True)
        if self.index:
            listener.close()
            self._channel = self._pairs[self.index - 1][1]
            self._channel.send(b"r")
            loop.watch(self._channel.fileno(), self._on_handed)
            return
        loop.watch(listener.fileno(), self._on_connections)
        for index, (near, _) in enumerate(self._pairs, 1):
            if near.recv(1):
                loop.watch(near.fileno(), partial(self._on_gone, index))
            else:
                self._on_gone(index, 0)

    def leave(self) -> int:
        """The exit status, when this process's loop has ended; process 0 sees the others' end first."""
        for near, _ in self._pairs if self.index == 0 else ():
            near.close()
        deadline = time.monotonic() + GRACE_S
        while self._children and time.monotonic() < deadline:
            for index, pid in list(self._children.items()):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    del self._children[index]
            time.sleep(0.002)
        for pid in self._children.values():
            os.kill(pid, signal.SIGKILL)
        return self._exit

    def _on_signal(self, number: int, frame: object) -> None:
        self._loop.stopping = True

    def _on_wake(self, mask: int) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4096)

    def _on_connections(self, mask: int) -> None:
        for _ in range(BURST):
            try:
                connection, _ = self._listener.accept()
            except OSError:  # none is left
                return
            if self._turn == 0:
                self._loop.adopt(connection)
            else:
                with suppress(OSError):  # its process has ended: we do so, too
                    socket.send_fds(self._pairs[self._turn - 1][0], [b"c"], [connection.fileno()])
                connection.close()
            self._turn = (self._turn + 1) % (len(self._pairs) + 1)

    def _on_handed(self, mask: int) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
        if not data:
            self._loop.stopping = True
        for descriptor in descriptors:
            self._loop.adopt(socket.socket(fileno=descriptor))

    def _on_gone(self, index: int, mask: int) -> None:
        """Process `index` has ended before we did: that is the end of the server, with its exit status."""
        if index not in self._children:
            return
        _, status = os.waitpid(self._children.pop(index), 0)
        code = os.waitstatus_to_exitcode(status)
        self._exit = code if code >= 0 else 128 - code  # as a shell tells of a signal
        self._loop.stopping = True


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
