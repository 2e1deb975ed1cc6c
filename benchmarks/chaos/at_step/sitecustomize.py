"""Strikes `quantcheck run` from within, at its N-th step: a moment that no clock finds twice.

A step is a change below CHAOS_FOLDER (a file opened for writing, renamed or removed, a folder made or removed), or a
process started; Python tells of each just before it is done (`sys.addaudithook`). CHAOS_STEP: which one is struck, with
the signal CHAOS_SIGNAL. CHAOS_COUNT: a file that gets the number of steps at the end instead.
"""

import atexit
import os
import sys

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "subprocess.Popen")


def _watch() -> None:
    folder = os.environ["CHAOS_FOLDER"]
    step, number = int(os.environ.pop("CHAOS_STEP", "0")), int(os.environ.pop("CHAOS_SIGNAL", "9"))
    counted = os.environ.pop("CHAOS_COUNT", "")
    steps = 0

    def below(path: object) -> bool:
        return str(path).startswith(folder) or not os.path.isabs(str(path))  # noqa: PTH117

    def changes(event: str, args: tuple) -> bool:
        if event == "open":
            return bool(args[2] & (os.O_WRONLY | os.O_RDWR)) and below(args[0])
        return event in CHANGES and (event == "subprocess.Popen" or below(args[0]))

    def hook(event: str, args: tuple) -> None:
        nonlocal steps
        if changes(event, args):
            steps += 1
            if steps == step:
                os.kill(os.getpid(), number)

    if counted:
        def tell() -> None:
            with open(counted, "w") as file:  # noqa: PTH123
                file.write(str(steps))

        atexit.register(tell)
    sys.addaudithook(hook)


if "CHAOS_FOLDER" in os.environ and "run" in sys.orig_argv and "quantcheck" in sys.orig_argv:
    _watch()
