"""Ctrl-C and SIGTERM: never lost.

Python raises KeyboardInterrupt wherever the main thread happens to be. Inside a finalizer the exception would be
printed and dropped, and the run would go on: there the signal is only remembered, and a run asks for it all the while.
When all is done and Python is ending, a signal comes too late: it would tell of a run that was stopped.
"""

import atexit
import signal
from types import FrameType

__all__ = ["install", "raise_if_interrupted"]

MAIN = ("<module>", "_run_module_as_main")
"""Where the main thread's stack begins, but for what Python calls at its end."""

_seen = False


def install() -> None:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt, at once or at the next `raise_if_interrupted`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)
    atexit.register(_ignore)


def raise_if_interrupted() -> None:
    """Raise the KeyboardInterrupt that could not be raised when it came, once."""
    global _seen
    if _seen:
        _seen = False
        raise KeyboardInterrupt


def _ignore() -> None:
    """Python takes its own handlers away before it ends, and with the default one a signal would still kill."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _handle(_number: int, frame: FrameType | None) -> None:
    global _seen
    outermost = ""
    while frame is not None:
        outermost = frame.f_code.co_name
        if outermost == "__del__":
            _seen = True
            return
        frame = frame.f_back
    if outermost not in MAIN:
        return
    raise KeyboardInterrupt
