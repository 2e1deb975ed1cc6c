"""The exceptions that quantcheck raises on purpose.

    QuantcheckError
    ├── SpecError              what the user wrote: a key, a value, a file that is not there
    ├── ModelError             model files: missing, corrupt, of an architecture that is not supported
    ├── StoreError             results: no space left, unreadable, measured on another machine
    └── MeasurementError       something that was started and went wrong (exit code 1)
        └── EngineError        an engine: it did not start, never became healthy, died, answered wrongly
    EngineUnavailable          (a QuantcheckError) the engine cannot run here at all: what to install

Every message is one line: what was wrong, where, and what to do about it. A user's mistake ends with exit
code 2, a failed measurement with exit code 1; neither prints a traceback.
"""

from typing import ClassVar

__all__ = [
    "EngineError",
    "EngineUnavailable",
    "MeasurementError",
    "ModelError",
    "QuantcheckError",
    "SpecError",
    "StoreError",
]


class QuantcheckError(Exception):
    """Base of all errors that a user can cause or meet; `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 2


class SpecError(QuantcheckError):
    """The experiment, or an argument, says something that cannot be done."""


class ModelError(QuantcheckError):
    """A model's or artifact's files are missing, damaged or of a kind that is not supported."""


class StoreError(QuantcheckError):
    """Results cannot be written, read or mixed."""


class EngineUnavailable(QuantcheckError):
    """The engine cannot run on this machine; the message says what is missing."""


class MeasurementError(QuantcheckError):
    """A measurement was started and failed."""

    exit_code: ClassVar[int] = 1


class EngineError(MeasurementError):
    """An engine did not start, did not become healthy in time, died, or answered wrongly."""
