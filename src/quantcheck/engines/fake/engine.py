"""The fake engine's parent side: started, watched and ended like a real one."""

import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from quantcheck.engines.base import Dialect
from quantcheck.engines.fake.script import Script
from quantcheck.engines.loopback import LOOPBACK, require_free
from quantcheck.engines.served import ServedEngine
from quantcheck.process.managed import ManagedProcess
from quantcheck.spec.experiment import AGAIN
from quantcheck.spec.experiment import FakeEngine as Settings

__all__ = ["FakeServer", "script_of"]


def script_of(settings: Settings, variant: str) -> Script:
    """The script of one variant: its times are the settings' divided by the variant's speed, its twin's, too.

    Raises `SpecError` for settings that make no sense.
    """
    speed = settings.speed.get(variant.removesuffix(AGAIN), 1.0)
    return Script(
        model=variant,
        port=settings.port or 0,
        ttft_s=settings.ttft_ms / 1e3 / speed,
        itl_s=settings.itl_ms / 1e3 / speed,
        tokens_per_chunk=settings.tokens_per_chunk,
        slots=settings.slots,
        processes=settings.processes,
        start_delay_s=settings.start_delay_s,
        fault=settings.fault,
    )


class FakeServer(ServedEngine):
    """One start of the fake server.

    `golden`, when given, is the file that its records go to (JSON lines, see `journal.py`; `log.read_log` reads it).
    """

    def __init__(
        self,
        script: Script,
        *,
        log: Path,
        golden: Path | None = None,
        timeout_s: float = 30.0,
        dialect: Dialect = "completions",
    ) -> None:
        self.script = replace(script, log=str(golden)) if golden is not None else script
        process = ManagedProcess(
            [sys.executable, "-u", "-m", "quantcheck.engines.fake.server", self.script.to_json()],
            name=f"fake engine of {script.model}",
            log=log,
        )
        super().__init__(process, model=script.model, dialect=dialect, timeout_s=timeout_s)

    def _before_start(self) -> None:
        with ExitStack() as held:
            port = self.script.port
            if self.script.fault == "port-in-use":
                owner = held.enter_context(socket.create_server((LOOPBACK, port)))
                port = owner.getsockname()[1]
            require_free(port or None)

    def describe(self) -> Mapping[str, Any]:
        return {
            "kind": "fake",
            "ttft_s": self.script.ttft_s,
            "itl_s": self.script.itl_s,
            "tokens_per_chunk": self.script.tokens_per_chunk,
            "slots": self.script.slots,
            "processes": self.script.processes,
            "fault": self.script.fault,
            "kv_cache_bytes": None,
            "ready_s": self._ready_s,
        }
