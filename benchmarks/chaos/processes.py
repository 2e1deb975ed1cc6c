"""The processes of a trial: found by a mark in their environment, or as orphans that come to us."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

__all__ = ["MARK", "adopt_orphans", "below", "command_of", "left", "listening"]

MARK = "QUANTCHECK_CHAOS"
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From now on what loses its parent below this process becomes its child: also what cleared its environment."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def command_of(pid: int) -> str:
    """The command line; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def below(pid: int) -> Iterator[int]:
    """The descendants of a process, its children first. Reads no more of /proc than these, so it can be asked often."""
    level = [pid]
    while level:
        found: list[int] = []
        for parent in level:
            with suppress(OSError):
                for thread in os.listdir(f"/proc/{parent}/task"):  # noqa: PTH208
                    with suppress(OSError):
                        found += map(int, Path(f"/proc/{parent}/task/{thread}/children").read_text().split())
        yield from found
        level = found


def left(mark: str) -> list[str]:
    """What is left of a trial, as command lines: living processes with its mark, and orphans. Zombies are reaped."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError):
                if wanted in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found[int(name)] = command_of(int(name))
    for pid in below(os.getpid()):
        found[pid] = command_of(pid)
    return [f"{pid} {command}" for pid, command in found.items() if psutil.pid_exists(pid)]


def listening(port: int) -> bool:
    """Whether some process listens on the port."""
    return any(c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port
               for c in psutil.net_connections("tcp"))
