"""How requests are written and received, and for how long at most."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Limits", "PromptForm", "Sending"]

PromptForm = Literal["ids", "text"]
"""What synthetic prompts are: token ids, or text for servers that take none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines in s. `first_byte_timeout_s`: to the first byte of the body; None: the request's. `run_timeout_s`: of
    the whole load; None: as long as all requests may take one after another in each stream. `duration_s`: when a closed
    loop begins no further measured request."""

    request_timeout_s: float = 120.0
    first_byte_timeout_s: float | None = None
    run_timeout_s: float | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Sending:
    """The defaults suit an engine of our own.

    `plain`: without fields that OpenAI's protocol does not have. `stream` False: whole answers, without TTFT. `repeat`:
    so many prompts in turns. `workers` None: by the load. `key_variable`: the environment variable that holds an API
    key. `scratch`: the folder in which processes hand files to each other; None: the system's for temporary files.
    `keep_on_interrupt`: Ctrl-C ends the load with what there is, instead of raising.
    """

    limits: Limits = field(default_factory=Limits)
    tokenizer: Path | None = None
    prompt_form: PromptForm = "ids"
    plain: bool = False
    stream: bool = True
    repeat: int | None = None
    workers: int | None = None
    kernel_stamps: bool = True
    key_variable: str | None = None
    scratch: Path | None = None
    keep_on_interrupt: bool = False
