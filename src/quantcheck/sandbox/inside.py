"""The first code in the sandbox, before the program: it gives up what is left to give up, then runs the program.

    python -S -s -P -B start.py STATUS GO USER NAME LIMIT=VALUE ...

STATUS: descriptor to which it writes `ready`, and `end` when the program ran to its last line, or `memory` when memory
ran out. GO: descriptor that it reads before the program starts; its end without a word means that nobody waits any
more. USER: the user id to become, 0 to stay. It imports nothing of quantcheck: the sandbox does not have it.

The sandbox guards the machine, not the score: a program that sets out to look right can write `end` itself.
"""

import os
import resource
import site
import sys
import traceback
import types

EXIT_NOBODY_WAITS = 125
OPEN_FILES = 1024
PROGRAM = "/program.py"


def main(status: int, go: int, user: int, name: str, limits: list[str]) -> None:
    os.set_inheritable(status, False)
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    for text in limits:
        _limit(*text.split("="))
    os.write(status, b"ready\n")
    if os.read(go, 1) != b"g":
        sys.exit(EXIT_NOBODY_WAITS)
    os.closerange(3, status)
    os.closerange(status + 1, OPEN_FILES)
    site.setquit()  # `exit()` and `quit()`, which code expects; -S leaves them out with the installed packages
    _run(status, name)


def _limit(name: str, value: str) -> None:
    """A limit that is lower already stays. Processor time: a signal first, which tells why, and death a second after"""
    number = getattr(resource, name)
    _, high = resource.getrlimit(number)
    soft = int(value) if high == resource.RLIM_INFINITY else min(int(value), high)
    hard = soft + 1 if number == resource.RLIMIT_CPU and soft == int(value) else soft
    resource.setrlimit(number, (soft, hard))


def _run(status: int, name: str) -> None:
    first = os.getpid()
    program = types.ModuleType(name)
    program.__dict__["__file__"] = PROGRAM
    sys.modules[name] = program
    sys.argv = [PROGRAM]
    try:
        with open(PROGRAM, "rb") as file:  # noqa: PTH123
            code = compile(file.read(), PROGRAM, "exec")
        exec(code, program.__dict__)  # noqa: S102 -- what this sandbox is for
    except SystemExit:
        raise
    except MemoryError:
        if os.getpid() == first:
            os.write(status, b"memory\n")
        program.__dict__.clear()
        raise
    except BaseException as error:  # noqa: BLE001 -- also KeyboardInterrupt: whatever it raises is its failure
        traceback.print_exception(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
        sys.exit(1)
    if os.getpid() == first:  # a process that it forked may come here, too
        os.write(status, b"end\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
