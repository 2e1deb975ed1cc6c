"""What both of a worker's loops are: a share of the schedule, how far it is, and what came back."""

from abc import ABC, abstractmethod
from collections import deque
from typing import ClassVar

from quantcheck.load.flight import Flight
from quantcheck.load.handover import MEASURED, Board, Counts, Harvest, Job, Request

__all__ = ["Sender"]


class Sender(ABC):
    """Sends the requests of one worker and keeps what comes back; subclasses say how.

    `warmup[k]`: stream k's own first requests; `measured`: the window's; `tail`: what follows. In an open loop
    `warmup` is empty, `measured` holds all requests up to the window's end in order of their due times, `tail` the
    later ones.
    """

    transport: ClassVar[str]

    def __init__(
        self, job: Job, worker: int, board: Board, warmup: list[deque[Request]], measured: deque[Request],
        tail: deque[Request],
    ) -> None:
        self._job, self._worker, self._board = job, worker, board
        self._warmup, self._measured, self._tail = warmup, measured, tail
        self._left = sum(request.phase == MEASURED for request in measured)
        self._sent = self._done = self._failed = 0
        self.harvest = Harvest()
        self.counts = Counts()

    @abstractmethod
    def run(self) -> None:
        """Runs until the last measured request of all workers is over, or the load is stopped; then lets go."""

    def _ended(self, flight: Flight) -> None:
        self._left -= flight.phase == MEASURED
        self._done += 1
        self._failed += flight.fault is not None
        self.counts.over(flight)

    def _over(self) -> bool:
        """Whether no worker has a measured request left."""
        if self._left > 0:
            return False
        self._board.put(self._worker, "left", 0)
        return self._board.total("left") == 0

    def _tell(self) -> None:
        for column, value in (("sent", self._sent), ("done", self._done), ("failed", self._failed),
                              ("left", self._left), ("busy", self._sent - self._done)):
            self._board.put(self._worker, column, value)

    def _end_early(self, reason: str) -> None:
        self.counts.ended_early = reason
        self._board.stop = True
