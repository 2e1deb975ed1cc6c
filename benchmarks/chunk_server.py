"""Starts `chunk_server.c`, a server of scripted chunks that costs next to nothing, and reads what it logged."""

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

READ = -1
"""In the log's column for the chunk: the request was read."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request: when it was read and, int64[chunks], when each of its chunks was sent; ns of CLOCK_MONOTONIC."""

    arrived_ns: int
    sent_ns: NDArray[np.int64]


class ChunkServer:
    """Compiled with cc into `folder` and started on a free port; after the `with`, `said` is its last line."""

    def __init__(self, folder: Path) -> None:
        program, self._log = folder / "chunk_server", folder / "chunk_server.log"
        source = Path(__file__).with_name("chunk_server.c")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", program, source], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process = subprocess.Popen([program, str(self.port), self._log], stdout=subprocess.PIPE, text=True)
        self.said = ""
        time.sleep(0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self.said = (self._process.communicate(timeout=30)[0] or "").strip()

    def sent(self) -> dict[str, Sent]:
        """What was sent for each numbered request, the last of its number; to be asked after the `with`."""
        entries = np.fromfile(self._log, dtype=np.int64).reshape(-1, 3)
        entries = entries[np.argsort(entries[:, 0], kind="stable")]
        numbers, begin = np.unique(entries[:, 0], return_index=True)
        found = {}
        for number, rows in zip(numbers.tolist(), np.split(entries[:, 1:], begin[1:]), strict=True):
            last = np.flatnonzero(rows[:, 0] == READ)[-1]
            found[str(number)] = Sent(int(rows[last, 1]), rows[last + 1 :, 1])
        found.pop("-1", None)
        return found
