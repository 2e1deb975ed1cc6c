"""Ctrl-C and SIGTERM: never lost.

Python raises KeyboardInterrupt wherever the main thread happens to be. Inside a finalizer the exception would be
printed and dropped, and the run would go on: there the signal is only remembered, and a run asks for it all the while.
"""

import signal
from types import FrameType

__all__ = ["install", "raise_if_interrupted"]

_seen = False


def install() -> None:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt, at once or at the next `raise_if_interrupted`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)


def raise_if_interrupted() -> None:
    """Raise the KeyboardInterrupt that could not be raised when it came, once."""
    global _seen
    if _seen:
        _seen = False
        raise KeyboardInterrupt


def _handle(_number: int, frame: FrameType | None) -> None:
    global _seen
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            _seen = True
            return
        frame = frame.f_back
    raise KeyboardInterrupt
