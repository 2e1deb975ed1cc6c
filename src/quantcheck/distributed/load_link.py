"""A host of a load, as the driver sees it: questions and answers, its clock, and what it brings back."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quantcheck.distributed.clocks import Reading, Relation, read_clock
from quantcheck.distributed.load_host import LoadHost
from quantcheck.distributed.nodes import Node, pinned
from quantcheck.errors import EngineError, QuantcheckError, SpecError
from quantcheck.load.crew import no_room
from quantcheck.load.decode import read_flights
from quantcheck.load.exchange import Exchange
from quantcheck.load.schedule import Schedule

__all__ = ["Brought", "Link"]

START_S, ANSWER_S = 60.0, 120.0
SILENT_S = 15.0
"""A host that says nothing for so long is lost; Ray itself may take longer to find out."""

Brought = list[tuple[list[Exchange], dict[str, Any]]]
"""Exchanges and facts, by worker."""


class Link:
    """One host. `lost`: why it is lost, None while it is not; from then on it is asked nothing.

    `pulse`: how far its part is, as it last said (`LoadHost.pulse`); `clock`: how its clock lies to ours, once both
    readings are there.
    """

    def __init__(self, ray: Any, node: Node) -> None:
        self.node = node
        self.cores, self.loopback = 1, ""
        self._ray = ray
        self._broken = (ray.exceptions.RayError, ConnectionError)
        self._actor = ray.remote(num_cpus=1, max_restarts=0)(LoadHost).options(
            scheduling_strategy=pinned(node.id)).remote()
        self._hello = self.ask("hello")
        self.reset()
        self.lost: str | None = None

    @property
    def rtt_ns(self) -> int:
        """The shortest round trip before the load."""
        return self.before.rtt_ns if self.before is not None else 0

    def reset(self, measured: int = 0) -> None:
        """Another load begins, with so many measured requests for this host."""
        self.before: Reading | None = None
        self.clock: Relation | None = None
        self.pulse = dict.fromkeys(("sent", "done", "failed", "busy", "left", "stopped", "finished"), 0)
        self.pulse["left"] = measured
        self._asked: tuple[Any, float] | None = None

    # -- before and after the load -----------------------------------------------------------------------------

    def meet(self) -> None:
        """Waits until the actor is there. Raises `SpecError` when it does not come."""
        try:
            told, _ = self._ray.get(self._hello, timeout=START_S)
        except self._broken as error:
            raise SpecError(f"node {self.node.address}: the load's actor did not start within {START_S:g} s "
                            f"({_why(error)}); its CPUs may be taken by others: see `ray status`") from error
        self.cores, self.loopback = told["cores"], told["loopback"]

    def ask(self, method: str, *values: Any) -> Any:
        """A question to `LoadHost`; its answer is a pair that `answer` waits for."""
        return self._actor.do.remote(method, *values)

    def answer(self, asked: Any, timeout_s: float = ANSWER_S) -> Any:
        """Raises what the host raised, and `EngineError` when it is lost."""
        try:
            value, error = self._ray.get(asked, timeout=timeout_s)
        except self._broken as wrong:
            self.lost = _why(wrong)
            raise EngineError(f"node {self.node.address} was lost ({self.lost}); see `ray status`") from wrong
        if error is not None:
            raise self._raised(error)
        return value

    def read_clock(self, rounds: int, timeout_s: float = SILENT_S) -> None:
        """The first reading is `before` the load; with the second there is a `clock`. Raises as `answer`."""
        try:
            reading = read_clock(lambda: int(self._ray.get(self._actor.clock_ns.remote(), timeout=timeout_s)), rounds,
                                 time.monotonic_ns)
        except self._broken as wrong:
            self.lost = _why(wrong)
            raise EngineError(f"node {self.node.address} was lost ({self.lost}); see `ray status`") from wrong
        if self.before is None:
            self.before = reading
        else:
            self.clock = Relation(self.before, reading)

    def start(self, at_ns: int) -> None:
        """The load begins at `at_ns` of our clock."""
        assert self.before is not None
        self.ask("start", self.before.to_host(at_ns))

    def bring(self, folder: Path, plan: Schedule, start_ns: int, timeout_s: float) -> Brought:
        """What its workers left, on our clock, by way of files in `folder`. Raises as `answer`, and `StoreError`."""
        assert self.clock is not None
        found = []
        for number in self.answer(self.ask("wrote"), timeout_s):
            files = self.answer(self.ask("files", number), timeout_s)
            try:
                for name, content in files.items():
                    content.tofile(folder / name)
            except OSError as error:
                raise no_room(folder, error) from error
            found.append(read_flights(folder, number, plan, self.clock.before.to_host(start_ns), self.clock.ahead_ns))
            for name in files:
                (folder / name).unlink()
        return found

    def kill(self) -> None:
        """Ends the actor, and with it whatever it runs."""
        self._ray.kill(self._actor)

    # -- during the load ---------------------------------------------------------------------------------------

    def question(self, left: int) -> Any:
        """The question how far it is, asked now if none is open; `left`: what the other hosts have left."""
        if self._asked is None:
            self._asked = self.ask("pulse", left), time.monotonic()
        return self._asked[0]

    def hear(self, answered: Callable[[Any], bool]) -> None:
        """Takes the answer if it is there; without one for too long, the host is lost. Raises what the host raised."""
        assert self._asked is not None
        asked, since = self._asked
        if not answered(asked):
            if time.monotonic() - since > SILENT_S:
                self.lost = f"it did not answer for {SILENT_S:g} s"
            return
        self._asked = None
        try:
            pulse, error = self._ray.get(asked, timeout=SILENT_S)
        except self._broken as wrong:
            self.lost = _why(wrong)
            return
        if error is not None:
            raise self._raised(error)
        self.pulse = pulse

    # -- in the record -----------------------------------------------------------------------------------------

    def as_json(self, workers: int, brought: Brought) -> dict[str, Any]:
        """`requests`: those of which something is known."""
        return {
            "node": self.node.id, "address": self.node.address, "hardware_id": self.node.hardware,
            "cores": self.cores, "workers": workers, "requests": sum(len(exchanges) for exchanges, _ in brought),
            "cpu_s": float(sum(facts["cpu_s"] for _, facts in brought)),
            "clock": self.clock.as_json() if self.clock is not None else None, "lost": self.lost,
        }

    def _raised(self, error: QuantcheckError) -> QuantcheckError:
        return type(error)(f"node {self.node.address}: {error}")


def _why(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()[:120]}" if lines else type(error).__name__
