"""A load as it is given to worker processes: job, requests and bodies, whole or one host's share of them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quantcheck.load.handover import MEASURED, WARMUP, Job
from quantcheck.load.schedule import Schedule
from quantcheck.load.sending import Limits
from quantcheck.load.target import Target

__all__ = ["Parcel", "pack"]

INDEX, OFFSET, LENGTH, _, STREAM, PHASE = range(6)


@dataclass(frozen=True, slots=True)
class Parcel:
    """`requests`: int64[n, 6], rows of `handover.REQUEST_COLUMNS`; `bodies`: of the n requests, in the same order."""

    job: Job
    requests: NDArray[np.int64]
    bodies: Sequence[bytes]

    def share(self, host: int, hosts: int) -> "Parcel":
        """What host `host` of `hosts` sends: request i where i % hosts is `host`, and the warm-up of its streams
        likewise. Workers take theirs by the same rule (`Job`), so that each finds all it takes in its host's share
        when their number is a multiple of `hosts`, and every request goes out in the same place and at the same time
        as without hosts."""
        warmup = (self.requests[:, PHASE] == WARMUP) & bool(self.job.streams)
        own = np.flatnonzero(np.where(warmup, self.requests[:, STREAM], self.requests[:, INDEX]) % hosts == host)
        rows = self.requests[own].copy()
        rows[:, OFFSET] = np.cumsum(rows[:, LENGTH]) - rows[:, LENGTH]
        return Parcel(self.job, rows, [self.bodies[place] for place in own.tolist()])

    def measured_of(self, sent: int) -> int:
        """Of the first `sent` requests, in the order of the schedule, how many were measured ones."""
        return int((self.requests[:sent, PHASE] == MEASURED).sum())

    def write(self, folder: Path) -> None:
        """For the workers of `folder`, which begin to read when the last file is there."""
        with (folder / "bodies.bin").open("wb") as file:
            file.writelines(self.bodies)
        self.requests.tofile(folder / "requests.i64")
        self.job.write(folder)


def pack(
    target: Target, schedule: Schedule, *, path: str, streams: int, limits: Limits, workers: int, kernel_stamps: bool,
    key_variable: str | None,
) -> Parcel:
    """The whole load for `workers` in all; `streams` 0: open loop. `path` is appended to the target's."""
    lengths = np.array([len(body) for body in schedule.bodies], np.int64)
    due = np.full(len(schedule), -1, np.int64) if schedule.due_ns is None else schedule.due_ns
    last_due_s = 0.0 if schedule.due_ns is None else float(schedule.due_ns[-1]) / 1e9
    turns = -(-len(schedule) // streams) if streams else 1
    job = Job(
        host=target.address, port=target.port, path=target.path + path, headers={"Host": target.host},
        streams=streams, workers=workers,
        request_timeout_s=limits.request_timeout_s,
        first_byte_timeout_s=limits.first_byte_timeout_s,
        run_timeout_s=limits.run_timeout_s or last_due_s + (turns + 1) * limits.request_timeout_s,
        duration_s=limits.duration_s,
        kernel_stamps=kernel_stamps and target.plain and sys.platform == "linux",
        secure=target.secure, proxy=target.proxy, key_variable=key_variable,
    )
    requests = np.column_stack([np.arange(len(schedule)), np.cumsum(lengths) - lengths, lengths, due, schedule.stream,
                                schedule.phase]).astype(np.int64)
    return Parcel(job, requests, schedule.bodies)
