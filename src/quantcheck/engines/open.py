"""From an experiment's `engine:` section to an engine that can be started."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantcheck.engines.base import Engine
from quantcheck.spec.experiment import FakeEngine, LlamaCppEngine, VllmEngine

__all__ = ["open_engine"]


def open_engine(
    settings: LlamaCppEngine | FakeEngine | VllmEngine, *, variant: str, model: Path, slots: int, tokens: int,
    log: Path, python: Path | None = None, arguments: Mapping[str, Any] | None = None, native: Path | None = None,
) -> Engine:
    """A new, not yet started engine for one block.

    `slots`: the highest concurrency of the block; `tokens`: the longest prompt plus answer; `log`: the file that
    its output goes to. vLLM alone has `python`, the interpreter of its environment, and `arguments`, options for this
    variant; llama.cpp alone `native`, a server in the place of the wheel's. Raises `SpecError` for settings that make
    no sense.
    """
    # Imported here, so that asking for one kind does not load another one's libraries.
    if isinstance(settings, LlamaCppEngine):
        from quantcheck.engines.llamacpp import LlamaCppServer

        return LlamaCppServer(settings, model, name=variant, slots=slots, tokens=tokens, log=log,
                              native=native)
    if isinstance(settings, VllmEngine):
        from quantcheck.engines.vllm import VllmServer

        assert python is not None
        return VllmServer(settings, model, name=variant, tokens=tokens, log=log, python=python, arguments=arguments)
    from quantcheck.engines.fake.engine import FakeServer, script_of

    return FakeServer(
        script_of(settings, variant), log=log, golden=log.with_suffix(".jsonl"), timeout_s=settings.start_timeout_s
    )
