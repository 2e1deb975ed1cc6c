"""Calls to the kernel that a program in the sandbox may not make: a filter for bubblewrap's `--seccomp`.

Namespaces and limits leave a few things open, and each call here closes one of them. It is a classic BPF program; see
seccomp(2) for its input, linux/filter.h for the form of an instruction.
"""

import errno
import platform
import socket
import struct
from typing import NamedTuple

from quantcheck.errors import MeasurementError

__all__ = ["seccomp_filter"]


class _Machine(NamedTuple):
    """A processor's audit number, and the numbers of its calls."""

    audit: int
    denied: dict[str, int]
    socket: int
    clone: int
    clone3: int


# Memory that belongs to no process and so counts for none: memfd_create, memfd_secret, shmget, msgget.
# Keys are in no namespace: add_key, request_key, keyctl. Privileges in a new namespace: unshare, setns.
# Large parts of the kernel that tests of functions do not need: ptrace, bpf, perf_event_open, userfaultfd, io_uring.
_CALLS = ("memfd_create", "memfd_secret", "shmget", "msgget", "add_key", "request_key", "keyctl", "unshare", "setns",
          "ptrace", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup")
_MACHINES = {
    "x86_64": _Machine(0xC000003E, dict(zip(
        _CALLS, (319, 447, 29, 68, 248, 249, 250, 272, 308, 101, 321, 298, 323, 425), strict=True)), 41, 56, 435),
    "aarch64": _Machine(0xC00000B7, dict(zip(
        _CALLS, (279, 447, 194, 186, 217, 218, 219, 97, 268, 117, 280, 241, 282, 425), strict=True)), 198, 220, 435),
}

FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
"""The families that a network namespace holds; AF_VSOCK, which reaches a virtual machine's host, it does not."""
CLONE_NEWUSER = 0x10000000
X32 = 0x40000000  # the bit of x86_64's second set of numbers

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, AUDIT, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; both machines are little-endian
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def seccomp_filter(machine: str | None = None) -> bytes:
    """The compiled filter for this processor; raises `MeasurementError` where its calls' numbers are not known."""
    name = machine or platform.machine()
    if name not in _MACHINES:
        raise MeasurementError(f"the sandbox did not start: it knows {' and '.join(_MACHINES)}, not {name}")
    calls = _MACHINES[name]
    deny = _step(RETURN, ERRNO | errno.EPERM)
    allow = _step(RETURN, ALLOW)
    steps = [_step(LOAD, AUDIT), _step(EQUAL, calls.audit, yes=1), deny, _step(LOAD, NUMBER),
             _step(AT_LEAST, X32, no=1), deny]
    for number in calls.denied.values():
        steps += [_step(EQUAL, number, no=1), deny]
    # clone3 keeps its flags where a filter cannot look; without it, the C library takes clone.
    steps += [_step(EQUAL, calls.clone3, no=1), _step(RETURN, ERRNO | errno.ENOSYS)]
    steps += [_step(EQUAL, calls.clone, no=4), _step(LOAD, FIRST_ARGUMENT), _step(ANY_BIT, CLONE_NEWUSER, no=1), deny,
              allow]
    steps += [_step(EQUAL, calls.socket, no=2 + len(FAMILIES)), _step(LOAD, FIRST_ARGUMENT)]
    steps += [_step(EQUAL, family, yes=len(FAMILIES) - place) for place, family in enumerate(FAMILIES)]
    steps += [_step(RETURN, ERRNO | errno.EAFNOSUPPORT), allow]
    return b"".join(steps)


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """One instruction; `yes` and `no`: how many to skip when a comparison holds, or does not."""
    return struct.pack("<HBBI", code, yes, no, value)
