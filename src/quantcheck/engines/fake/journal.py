"""The golden log: one JSON line per request, written when nothing is due.

    request         X-Request-Id, or the request's number
    kind            completion, chat or llama
    prompt_tokens, wanted   lengths asked for
    fault           the scripted fault that struck it, or null
    read_ns         when the read returned that completed the request
    arrived_ns      when the kernel had received that; as read_ns where it does not say
    due_ns, sent_ns, tokens   one entry per event with tokens: due, the clock just before `send`, its tokens
    end_ns          when the request was over
    client_left     whether the client closed the connection before that
    late_ns         max(sent - due), how late the server itself was at worst; 0 without events

All times: CLOCK_MONOTONIC, which the processes of a machine share.
"""

import operator
import os
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import chain, compress

import orjson

__all__ = ["Journal", "Record", "open_file"]

BATCH = 16
HURRY_NS = 200_000_000


@dataclass(slots=True)
class Record:
    """What was done for one request. Steps without tokens (a head, an end) have an empty entry in `counts`."""

    request: str
    kind: str
    prompt_tokens: int
    wanted: int
    fault: str | None
    read_ns: int
    arrived_ns: int
    due_ns: list[int] = field(default_factory=list)
    sent_ns: list[int] = field(default_factory=list)
    counts: list[tuple[int, ...]] = field(default_factory=list)
    end_ns: int = 0
    client_left: bool = False

    def line(self) -> bytes:
        """One line of JSON."""
        counts = self.counts[: len(self.sent_ns)]  # steps that were not sent drop out
        tokens = list(chain.from_iterable(counts))
        due, sent = list(compress(self.due_ns, counts)), list(compress(self.sent_ns, counts))
        if len(tokens) > len(due):  # several events in a step
            sizes = [len(count) for count in counts if count]
            due = [time_ns for time_ns, size in zip(due, sizes, strict=True) for _ in range(size)]
            sent = [time_ns for time_ns, size in zip(sent, sizes, strict=True) for _ in range(size)]
        return orjson.dumps({
            "request": self.request, "kind": self.kind, "prompt_tokens": self.prompt_tokens, "wanted": self.wanted,
            "fault": self.fault, "read_ns": self.read_ns, "arrived_ns": self.arrived_ns,
            "due_ns": due, "sent_ns": sent,
            "tokens": tokens, "end_ns": self.end_ns, "client_left": self.client_left,
            "late_ns": max(map(operator.sub, sent, due), default=0),
        }, option=orjson.OPT_APPEND_NEWLINE)


def open_file(path: str) -> int:
    """An empty file that several processes may append to."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)


class Journal:
    """Finished records wait here until there is time. `descriptor`: from `open_file`; None: they are dropped.

    Every batch of whole lines is one `write` to a file opened with O_APPEND: on a local file system such writes of
    several processes neither mix nor overwrite each other.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._waiting: deque[Record] = deque()

    def add(self, record: Record) -> None:
        if self._descriptor is not None:
            self._waiting.append(record)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def urgent(self) -> bool:
        """Whether the oldest record has waited so long that it must be written although chunks are due."""
        return bool(self._waiting) and time.monotonic_ns() - self._waiting[0].end_ns > HURRY_NS

    def write(self, most: int = BATCH) -> None:
        """Writes up to `most` records."""
        if self._descriptor is None or not self._waiting:
            return
        lines = memoryview(b"".join([self._waiting.popleft().line() for _ in range(min(most, len(self._waiting)))]))
        while lines:
            lines = lines[os.write(self._descriptor, lines) :]

    def finish(self) -> None:
        while self._waiting:
            self.write()
