"""What every engine offers for speed measurements, whatever it is underneath."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from quantcheck.engines.vllm_metrics import Counters

__all__ = ["Dialect", "Endpoint", "Engine"]

Dialect = Literal["completions", "chat", "llama-server"]
"""The protocol spoken: /v1/completions, /v1/chat/completions, or llama-server's own /completion."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a healthy engine answers: `base_url` is http://127.0.0.1:PORT, without a path."""

    base_url: str
    model: str
    dialect: Dialect


class Engine(Protocol):
    """One engine start (a block): a context manager that starts on entry and ends everything on exit.

    A server that the user runs (`engines.endpoint`) is asked what it is instead, and stays.
    """

    def start(self) -> Endpoint:
        """Starts the engine and returns once it is healthy.

        Raises `SpecError` (a port in use), `ModelError` (the model's file), `EngineUnavailable` (it cannot
        run here) or `EngineError` (it died or never became healthy; with its last log lines).
        """
        ...

    @property
    def endpoint(self) -> Endpoint:
        """What `start` returned; raises `EngineError` before it."""
        ...

    @property
    def pid(self) -> int | None:
        """The engine's process: its descendants hold the memory and do the work. None for a server of the user's."""
        ...

    @property
    def ready_s(self) -> float | None:
        """Seconds from starting the process to its first healthy answer; None for a server that was there before."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Versions, settings, memory reservations: JSON values, for the stored cell."""
        ...

    def counters(self) -> Counters | None:
        """What the server itself has counted since its start; None for an engine that does not tell."""
        ...

    def check(self) -> None:
        """Raises `EngineError` when the engine died meanwhile (exit status, last log lines)."""
        ...

    def stop(self) -> None:
        """Ends every process of the engine, for certain; may be called again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
