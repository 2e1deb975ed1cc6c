"""A few lines that run in a child process before the engine's command takes it over.

Run as a script, by path, under `python -I -S` (no site packages, about 10 ms):

    python -I -S guard.py PARENT_PID COMMAND [ARGUMENT ...]

It asks the kernel to kill this process when the thread that started it ends (PR_SET_PDEATHSIG, see
prctl(2); the request survives execve), makes sure that the parent did not die in between, and becomes
COMMAND. Doing this after exec, rather than in a `preexec_fn`, keeps Python code out of the window between
fork and exec, where another thread's locks may be held for good.
"""

import ctypes
import os
import signal
import sys

__all__: list[str] = []

PR_SET_PDEATHSIG = 1
EXIT_PARENT_GONE = 125
EXIT_CANNOT_RUN = 127


def main(argv: list[str]) -> int:
    parent, command = int(argv[1]), argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            print(f"quantcheck guard: prctl failed: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
            return EXIT_CANNOT_RUN
    if os.getppid() != parent:  # it died before prctl: nobody is left to send the signal
        return EXIT_PARENT_GONE
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"quantcheck guard: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
    return EXIT_CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main(sys.argv))
