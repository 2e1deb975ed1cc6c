"""A host's part in a load: an actor on its node, which runs the ordinary load workers there."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.errors import EngineError, QuantcheckError, SpecError
from quantcheck.load.crew import Crew
from quantcheck.load.parcel import Parcel

__all__ = ["Answer", "LoadHost", "loopback_of"]

Answer = tuple[Any, QuantcheckError | None]
"""What a method returned, or the error that it raised."""


class LoadHost:
    """No method waits for the load: the driver asks how far it is."""

    def __init__(self) -> None:
        self._crew: Crew | None = None

    def clock_ns(self) -> int:
        """CLOCK_MONOTONIC of this host."""
        return time.monotonic_ns()

    def do(self, method: str, *values: Any) -> Answer:
        """Calls one of the methods below: an error of ours comes back as it is, without Ray's traceback."""
        try:
            return getattr(self, method)(*values), None
        except QuantcheckError as error:
            return None, error

    def hello(self) -> dict[str, Any]:
        """What the driver must know of the host: cores that may be used, and whose loopback addresses it has."""
        return {"cores": len(os.sched_getaffinity(0)), "loopback": loopback_of()}

    def begin(self, numbers: Sequence[int], total: int, key_variable: str | None) -> None:
        """Starts workers `numbers` of `total`."""
        self.end()
        if key_variable is not None and not os.environ.get(key_variable):
            raise SpecError(f"--key-env: the environment variable {key_variable} is not set there; put the key into "
                            "the environment of its `ray start`")
        self._crew = Crew(numbers, total).__enter__()

    def give(self, parcel: Parcel) -> None:
        """Hands the workers their share and waits until they are ready."""
        crew = self._there()
        crew.give(parcel)
        crew.wait_ready()

    def start(self, at_ns: int) -> None:
        """The load begins when this host's clock shows `at_ns`."""
        self._there().board.start_ns = at_ns

    def pulse(self, elsewhere: int) -> dict[str, int]:
        """How far it is; `elsewhere`: how many measured requests the other hosts have left."""
        crew = self._there()
        crew.elsewhere(elsewhere)
        finished = crew.finished()
        return {**{column: crew.board.total(column) for column in ("sent", "done", "failed", "busy")},
                "left": crew.left(), "stopped": crew.board.stop, "finished": finished}

    def leave(self) -> None:
        """Ends the load now; what was received is written."""
        self._there().leave()

    def wrote(self) -> list[int]:
        """Workers whose files are there."""
        return self._there().wrote()

    def files(self, number: int) -> dict[str, NDArray[np.uint8]]:
        """What worker `number` left, by name; Ray's object store hands arrays on without copying them."""
        folder = self._there().folder
        return {path.name: np.fromfile(path, np.uint8) for path in sorted(folder.glob(f"*.{number}.*"))
                if path.suffix != ".log"}

    def end(self) -> None:
        """Ends what runs, and removes what was written."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.__exit__()

    def _there(self) -> Crew:
        if self._crew is None:
            raise EngineError("the load workers have not been started")
        return self._crew


def loopback_of() -> str:
    """What two processes agree in when 127.0.0.1 is the same for both: the kernel's boot, and the network namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/net').stat().st_ino}"
    except OSError:
        return os.uname().nodename
