"""Numbers that the processes of one fake server share: each writes its own row, all read the sum.

A row is written by one process only and an aligned 64-bit store is whole, so that sums need no lock.
"""

import mmap
import os
import tempfile

__all__ = ["Shared"]

ROW = 8
BUSY, DEFERRED, CHUNKS, LATE = range(4)


class Shared:
    """Made before the fork; `mine` chooses the row of this process."""

    def __init__(self, processes: int) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 8 * ROW * (processes + 1))).cast("q")
        self._processes = processes
        self._counter = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._descriptor = self._counter.fileno()
        self.mine(0)

    def mine(self, index: int) -> None:
        self._row = ROW * (index + 1)

    def next_request(self) -> int:
        """The number of a new request, from 1: no two processes get the same.

        A relative seek on a file description that processes share is atomic (the kernel locks its position, see
        lseek(2) and its BUGS on older kernels): the position is the counter.
        """
        return os.lseek(self._descriptor, 1, os.SEEK_CUR)

    def first_request_ns(self, now_ns: int | None = None) -> int:
        """When the first request of all was read (0: none yet); `now_ns`: one was read."""
        if now_ns is not None and not self._numbers[0]:
            self._numbers[0] = now_ns
        return self._numbers[0]

    def publish(self, *, busy: int, deferred: int) -> None:
        self._numbers[self._row + BUSY] = busy
        self._numbers[self._row + DEFERRED] = deferred

    def publish_chunks(self, chunks: int, late_ns: int) -> None:
        self._numbers[self._row + CHUNKS] = chunks
        self._numbers[self._row + LATE] = late_ns

    def _all(self, number: int) -> list[int]:
        return [self._numbers[ROW * (index + 1) + number] for index in range(self._processes)]

    def metrics(self) -> str:
        """In Prometheus' text format."""
        return (
            f"llamacpp:requests_processing {sum(self._all(BUSY))}\n"
            f"llamacpp:requests_deferred {sum(self._all(DEFERRED))}\n"
            f"fake:chunks_total {sum(self._all(CHUNKS))}\n"
            f"fake:late_seconds_max {max(self._all(LATE)) / 1e9:.9f}\n"
        )
