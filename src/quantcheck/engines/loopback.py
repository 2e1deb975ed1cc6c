"""TCP ports on the loopback interface."""

import errno
import socket

import psutil

from quantcheck.errors import SpecError

__all__ = ["LOOPBACK", "free_port", "listeners", "require_free"]

LOOPBACK = "127.0.0.1"
_REACHED_BY = {LOOPBACK, "0.0.0.0", "::"}


def require_free(port: int | None) -> int:
    """`port` when nothing listens on it, 0 ("any free one") for None; raises `SpecError` when it is taken."""
    if port is None:
        return 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection's TIME_WAIT is no owner
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise SpecError(
                    f"engine.port: {port} is in use by another program; leave `port:` out to take any free one"
                ) from error
            raise SpecError(f"engine.port: {port} cannot be used here: {error.strerror}") from error
    return port


def free_port() -> int:
    """A port that nothing listens on now; another program may take it before the server does, which then says so."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def listeners(port: int) -> set[int | None]:
    """Process ids of those who listen on `port` of the loopback interface; None for one that we may not look into."""
    return {found.pid for found in psutil.net_connections("tcp")
            if found.status == psutil.CONN_LISTEN and found.laddr  # an address is empty when it is not known
            and found.laddr.port == port and found.laddr.ip in _REACHED_BY}
