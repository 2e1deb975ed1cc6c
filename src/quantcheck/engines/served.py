"""What engines have in common that are a local HTTP server in a child process."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from quantcheck.engines.base import Dialect, Endpoint
from quantcheck.engines.health import get_text
from quantcheck.engines.loopback import listeners
from quantcheck.engines.ready import announced
from quantcheck.engines.vllm_metrics import Counters
from quantcheck.errors import EngineError, QuantcheckError
from quantcheck.process.managed import ManagedProcess

__all__ = ["ServedEngine"]


class ServedEngine(ABC):
    """Start, wait for health, watch and end. Implements `engines.base.Engine` but for `describe`."""

    def __init__(self, process: ManagedProcess, *, model: str, dialect: Dialect, timeout_s: float) -> None:
        self._process = process
        self._model = model
        self._dialect: Dialect = dialect
        self._timeout_s = timeout_s
        self._ready_s: float | None = None
        self._facts: dict[str, Any] = {}

    @abstractmethod
    def _before_start(self) -> None:
        """Checks that cost nothing: raises what `start` raises."""

    def _cause(self, log: str) -> QuantcheckError | None:
        """A better error than "it died", when the log of a failed start tells one."""
        return None

    @abstractmethod
    def describe(self) -> Mapping[str, Any]: ...

    def start(self) -> Endpoint:
        self._before_start()
        self._process.start()
        try:
            ready_s = self._process.wait_until(self._healthy, self._timeout_s)
            self._refuse_others()
            self._ready_s = ready_s
        except EngineError as error:
            self.stop()
            cause = self._cause(self._process.log_text())
            if cause is not None:
                raise cause from error
            raise
        except BaseException:
            self.stop()
            raise
        return self.endpoint

    def _healthy(self) -> bool:
        if not self._facts:
            self._facts = announced(self._process.log_text()) or {}
        return bool(self._facts) and get_text(f"{self._facts['base_url']}/health") is not None

    def _refuse_others(self) -> None:
        """Raises `EngineError` when it is not our server that answers.

        A port is free when it is chosen and may be taken before the server listens, by another run's server even,
        which would answer everything that is asked.
        """
        port = urlsplit(self._facts["base_url"]).port
        assert port is not None
        if others := listeners(port) - {member.pid for member in self._process.members()}:
            who = ", ".join("of another user" if pid is None else f"process {pid}" for pid in others)
            raise EngineError(f"{self._process.name} did not start: another program ({who}) took its port {port} "
                              "meanwhile: try again")

    @property
    def endpoint(self) -> Endpoint:
        if self._ready_s is None:
            raise EngineError(f"{self._process.name} is not ready: start it first")
        return Endpoint(self._facts["base_url"], self._model, self._dialect)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ready_s(self) -> float:
        if self._ready_s is None:
            raise EngineError(f"{self._process.name} is not ready: start it first")
        return self._ready_s

    def counters(self) -> Counters | None:
        return None

    def check(self) -> None:
        self._process.check()

    def stop(self) -> None:
        self._process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
