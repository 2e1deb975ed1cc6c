"""A few lines that run in a child process before the engine's command takes it over.

Run as a script, by path, under `python -I -S` (no site packages, about 10 ms):

    python -I -S guard.py PARENT_PID COMMAND [ARGUMENT ...]

It asks the kernel to kill this process when the thread that started it ends (PR_SET_PDEATHSIG, see
prctl(2); the request survives execve), makes sure that the parent did not die in between, and becomes
COMMAND.

With `--tree` in front it does not become COMMAND but starts it and waits for it: a command that starts processes of
its own (vLLM's engine core holds the GPU's memory) would leave them behind when it alone is killed. This process is
told of the parent's end by SIGTERM, takes in what loses its own parent (PR_SET_CHILD_SUBREAPER), and ends all that is
left of the session, and whatever it took in, before it goes.

Doing this after exec, rather than in a `preexec_fn`, keeps Python code out of the window between
fork and exec, where another thread's locks may be held for good.
"""

import ctypes
import os
import signal
import sys
import time

__all__: list[str] = []

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
EXIT_PARENT_GONE = 125
EXIT_CANNOT_RUN = 127
REST_S = 3.0
"""How long what the command started may take to end by itself once the command has ended."""


def main(argv: list[str]) -> int:
    tree = argv[1] == "--tree"
    parent, command = int(argv[1 + tree]), argv[2 + tree:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        asked = [(PR_SET_PDEATHSIG, int(signal.SIGTERM if tree else signal.SIGKILL))]
        if tree:
            asked.append((PR_SET_CHILD_SUBREAPER, 1))
            signal.signal(signal.SIGTERM, lambda _number, _frame: _if_orphaned(parent))
        for option, value in asked:
            if libc.prctl(option, value, 0, 0, 0) != 0:
                print(f"quantcheck guard: prctl failed: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
                return EXIT_CANNOT_RUN
    if os.getppid() != parent:  # it died before prctl: nobody is left to send the signal
        return EXIT_PARENT_GONE
    return _watch(command) if tree else _become(command)


def _become(command: list[str]) -> int:
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"quantcheck guard: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
    return EXIT_CANNOT_RUN


def _watch(command: list[str]) -> int:
    """Run `command`, end what it leaves behind, and end as it ended."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if sys.platform == "linux":  # this process may be killed, too
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        os._exit(_become(command))
    status = 0
    while True:  # adopted processes are waited for as well, so that they do not stay as zombies
        pid, found = os.waitpid(-1, 0)
        if pid == child:
            status = found
            break
    _end_rest(REST_S)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return os.waitstatus_to_exitcode(status)


def _if_orphaned(parent: int) -> None:
    """SIGTERM comes from the parent, who sends it to all of us, or from the kernel because the parent is gone."""
    if os.getppid() != parent:
        _end_rest(0.0)
        os._exit(EXIT_PARENT_GONE)


def _end_rest(grace_s: float) -> None:
    """Wait for what is left of the command, and kill what is still there after `grace_s`."""
    end = time.monotonic() + grace_s
    while _children_left() or _others():
        if time.monotonic() >= end:
            for pid in _others():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        time.sleep(0.01)


def _children_left() -> bool:
    """Whether there is a child, adopted ones included; those that ended are waited for.

    `_others` alone can miss a process that was started while it looked and whose parent has ended since.
    """
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _others() -> list[int]:
    """Living processes of this session, and children of this process: some that it took in have a session of their
    own."""
    found = []
    own, session = os.getpid(), os.getsid(0)
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:  # noqa: PTH112, PTH208
        if not name.isdigit() or int(name) == own:
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if (int(fields[3]) == session or int(fields[1]) == own) and fields[0] not in (b"Z", b"X"):
            found.append(int(name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv))
