"""Hosts of a load without Ray: an actor is a process of its own, which may have a clock of its own (a time namespace).

`Apart` has of Ray what `Link` and `LoadHosts` use. `python -m tests.distributed.apart FD` is an actor's process.
"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from quantcheck.distributed.nodes import Node

ROOT = Path(__file__).parents[2]


class RayError(Exception):
    pass


class Actor:
    """Calls go to the process and come back in order. `ahead_s`: of its CLOCK_MONOTONIC, before this one's."""

    def __init__(self, kind: type, ahead_s: int, environment: dict[str, str]) -> None:
        self._pipe, theirs = Pipe()
        apart = ["unshare", "--time", "--monotonic", str(ahead_s), "--fork", "--kill-child"] if ahead_s else []
        self.process = subprocess.Popen(
            [*apart, sys.executable, "-m", "tests.distributed.apart", str(theirs.fileno())],
            cwd=ROOT, pass_fds=[theirs.fileno()], env={**os.environ, "PYTHONPATH": f"{ROOT}/src", **environment})
        theirs.close()
        self._pipe.send(kind)
        self._sent = self._received = 0
        self._answers: dict[int, Any] = {}
        self.silent = False

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=lambda *values: self._call(method, values))

    def _call(self, method: str, values: tuple[Any, ...]) -> "Answer":
        self._sent += 1
        with suppress(OSError):
            self._pipe.send((method, values))
        return Answer(self, self._sent)

    def there(self, number: int, timeout_s: float) -> bool:
        """Whether answer `number` has come, or will come no more."""
        deadline = time.monotonic() + timeout_s
        while not self.silent and number > self._received and wait([self._pipe], max(0.0, deadline - time.monotonic())):
            try:
                found = self._pipe.recv()
            except (EOFError, OSError):
                return True
            self._received += 1
            self._answers[self._received] = found
        return number <= self._received

    def take(self, number: int) -> Any:
        if number > self._received:
            raise RayError("The actor died unexpectedly before finishing this task.\nmore")
        return self._answers.pop(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Answer:
    def __init__(self, actor: Actor, number: int) -> None:
        self.actor, self.number = actor, number


class Apart:
    """In Ray's place; `ahead_s`: of the clock of each actor that is made, in turn."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, ahead_s: list[int], environment: dict[str, str] | None = None) -> None:
        self.actors: list[Actor] = []
        self._ahead_s, self._environment = ahead_s, environment or {}

    def remote(self, **_: Any) -> Any:
        def make(kind: type) -> Any:
            def start() -> Actor:
                self.actors.append(Actor(kind, self._ahead_s[len(self.actors)], self._environment))
                return self.actors[-1]

            return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=start))

        return make

    def get(self, answer: Answer, timeout: float) -> Any:
        if not answer.actor.there(answer.number, timeout):
            raise RayError(f"no answer within {timeout} s")
        return answer.actor.take(answer.number)

    def wait(self, answers: list[Answer], num_returns: int, timeout: float) -> tuple[list[Answer], list[Answer]]:
        deadline = time.monotonic() + timeout
        ready = [one for one in answers if one.actor.there(one.number, max(0.0, deadline - time.monotonic()))]
        return ready, [one for one in answers if one not in ready]

    def kill(self, actor: Actor) -> None:
        actor.kill()


def node(name: str, *, boot: str = "", cpus: int = 1, hardware: str = "h") -> Node:
    return Node(name, f"address-of-{name}", cpus, 0, 0,
                {"boot": boot or name, "environment": {"hardware_id": hardware, "gpus": []}})


def main() -> None:
    pipe = Connection(int(sys.argv[1]))
    actor = pipe.recv()()
    with suppress(EOFError):
        while True:
            method, values = pipe.recv()
            pipe.send(getattr(actor, method)(*values))


if __name__ == "__main__":
    main()
