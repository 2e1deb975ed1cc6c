"""The bubblewrap command line: what a program sees of this machine.

See bwrap(1). The root is made of a few read-only binds: /usr, the C library, this interpreter with its standard
library, and of /etc the linker's cache. Nothing else of the disk is there: no home, no /proc, /sys or /run; and none of
this process's environment. Namespaces of its own hide the network, processes and shared memory of the machine.

Run by an ordinary user, bubblewrap makes a user namespace and forbids further ones in it. Run by root it needs none; as
the kernel's limit of processes does not hold for root, `inside.py` then becomes a user that nobody else is.
"""

import os
import secrets
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from quantcheck.sandbox.program import Limits

__all__ = ["bubblewrap_arguments", "is_real_root", "python_arguments"]

INSIDE, PROGRAM = "/start.py", "/program.py"
MIB = 1 << 20
DEVICES = ("null", "zero", "full", "random", "urandom")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC",
               "PYTHONHASHSEED": "0"}
"""The same for every variant; so is the order of a set, by the hash seed."""
OPEN_FILES = 256
NOBODY = 65534
FREE_USERS = (0x70000000, 0x7FFFFFFF)
"""User ids that systemd's list of ranges calls unused, and below the sign bit."""


def is_real_root() -> bool:
    """Whether this process is root of the whole machine, not of a user namespace (a rootless container's root)."""
    if os.geteuid() != 0:
        return False
    first = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    return first[:2] == ["0", "0"] and int(first[2]) == 0xFFFFFFFF


def bubblewrap_arguments(limits: Limits, *, program: int, inside: int, calls: int, status: int) -> list[str]:
    """Arguments up to the command. Descriptors: `program`, `inside`: texts that become files; `calls`: the filter of
    calls; `status`: where bubblewrap writes its JSON."""
    arguments = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
                 "--hostname", "sandbox", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    if is_real_root():
        arguments += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        arguments += ["--unshare-user", "--disable-userns", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    for name, value in ENVIRONMENT.items():
        arguments += ["--setenv", name, value]
    arguments += ["--perms", "1777", "--size", str(limits.tmp_mib * MIB), "--tmpfs", "/tmp"]
    arguments += _root()  # after /tmp: an interpreter may lie there, too
    arguments += ["--perms", "0755", "--dir", "/dev"]
    for device in DEVICES:
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    arguments += ["--symlink", "/tmp", "/dev/shm"]  # so that shared memory counts as files in /tmp do
    for descriptor, path in ((inside, INSIDE), (program, PROGRAM)):
        arguments += ["--perms", "0444", "--ro-bind-data", str(descriptor), path]
    return [*arguments, "--remount-ro", "/", "--chdir", "/tmp", "--seccomp", str(calls),
            "--json-status-fd", str(status)]


def _root() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    yield from ("--perms", "0755", "--dir", "/etc", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache")
    for path in map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64")):
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for path in _interpreter():
        if path.exists() and not path.is_relative_to("/usr"):
            for parent in reversed(path.parents[:-1]):  # bubblewrap itself would make them for the owner alone
                yield from ("--perms", "0755", "--dir", str(parent))
            yield from ("--ro-bind", str(path), str(path))


def _interpreter() -> list[Path]:
    """The executable, and the library folders of its installation: a virtual environment has no part in it."""
    libraries = (Path(sysconfig.get_path("stdlib")).parent, Path(sys.base_exec_prefix) / sys.platlibdir)
    return list(dict.fromkeys([_executable(), *libraries]))


def _executable() -> Path:
    """This interpreter itself, not a virtual environment's link to it."""
    base: str = getattr(sys, "_base_executable", sys.executable)
    return Path(base).resolve()


def python_arguments(limits: Limits, name: str, *, status: int, go: int) -> list[str]:
    """The command: this interpreter, without installed packages, running `inside.py`."""
    low, high = FREE_USERS
    root = is_real_root()
    user = low + secrets.randbelow(high - low) if root else 0
    bounds = {
        "RLIMIT_CPU": limits.cpu_s,
        "RLIMIT_AS": limits.memory_mib * MIB,
        "RLIMIT_FSIZE": limits.file_mib * MIB,
        "RLIMIT_NPROC": limits.processes + (not root),  # else bubblewrap's own process in there is the same user's
        "RLIMIT_NOFILE": OPEN_FILES,
        "RLIMIT_CORE": 0,
    }
    return [str(_executable()), "-S", "-s", "-P", "-B", INSIDE, str(status), str(go), str(user), name,
            *(f"{key}={value}" for key, value in bounds.items())]
