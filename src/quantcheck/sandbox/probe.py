"""Whether there is a sandbox here, found out by starting one."""

import re
import shutil
import subprocess
from pathlib import Path

from quantcheck.errors import MeasurementError
from quantcheck.sandbox.pool import INSTALL, run
from quantcheck.sandbox.program import Limits, Program

__all__ = ["why_no_sandbox"]

OLDEST = (0, 8)
"""`--size` came with bubblewrap 0.7, `--disable-userns` with 0.8."""
SWITCHES = {
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "user.max_user_namespaces": ("0", "10000"),
}
"""Kernel settings that forbid user namespaces to ordinary users: the value that does, the value that does not."""
LIMITS = Limits(cpu_s=5, wall_s=20.0, memory_mib=256, tmp_mib=1, file_mib=1, processes=6, output_kib=4)
PROBE = f"""
import os
try:
    for _ in range({LIMITS.processes}):
        if os.fork() == 0:
            os.read(os.pipe()[0], 1)
except BlockingIOError:
    print("bounded")
"""
"""Asks for one process more than it may have: on a kernel that counts otherwise, a fork bomb would go off."""


def why_no_sandbox() -> str | None:
    """None when programs can be run in a sandbox; else why not, and what to do. Takes some tens of milliseconds."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return f"bubblewrap is missing; {INSTALL}"
    if not Path("/proc/thread-self/children").exists():
        return "the kernel does not list a process's children (CONFIG_PROC_CHILDREN); use a kernel that does"
    try:
        told = subprocess.run([bwrap, "--version"], capture_output=True, text=True, timeout=LIMITS.wall_s, check=False)
        version = re.search(r"(\d+)\.(\d+)", told.stdout)
        if version is None or tuple(map(int, version.groups())) < OLDEST:
            return f"{told.stdout.strip() or bwrap} is too old; 0.8.0 or newer is needed"
        outcome = run(Program(PROBE), LIMITS)
    except (MeasurementError, OSError, subprocess.TimeoutExpired) as error:
        return f"{error}; {_remedy()}" if "permi" in str(error).lower() else str(error)
    if outcome.ending != "passed":
        return f"a trivial program did not run in the sandbox ({outcome.ending}: {outcome.detail})"
    if outcome.stdout.strip() != "bounded":
        return "the kernel's limit of processes does not hold in the sandbox; it needs an ordinary user and Linux 5.14"
    return None


def _remedy() -> str:
    for name, (forbids, allows) in SWITCHES.items():
        try:
            value = Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if value == forbids:
            return f"user namespaces are forbidden: as root, `sysctl -w {name}={allows}`"
    return "it needs user namespaces; in a container, its seccomp profile has to allow them"
