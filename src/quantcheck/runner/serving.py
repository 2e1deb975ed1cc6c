"""The engine of an experiment, for one variant: with the interpreter and the options that belong to it."""

from pathlib import Path

from quantcheck.engines.base import Engine
from quantcheck.engines.open import open_engine
from quantcheck.engines.vllm_python import vllm_packages
from quantcheck.environments import python_of
from quantcheck.ggml.library import WHEEL_VERSION
from quantcheck.spec.experiment import Experiment, VllmEngine
from quantcheck.variants.artifact import Artifact

__all__ = ["engine_of", "engine_version", "interpreter"]


def engine_of(
    experiment: Experiment, entry: str, variant: str, artifact: Artifact, *, slots: int, tokens: int, log: Path
) -> Engine:
    """A new, not yet started engine that serves `artifact` under the name `entry`; raises what `open_engine` raises."""
    return open_engine(
        experiment.engine, variant=entry, model=artifact.path, slots=slots, tokens=tokens, log=log,
        python=interpreter(experiment),
        arguments={**artifact.recipe.get("engine_args", {}), **experiment.variants[variant].args},
    )


def interpreter(experiment: Experiment) -> Path | None:
    """Of the engine's own environment; None for an engine that runs in ours. Raises `EngineUnavailable`."""
    engine = experiment.engine
    if not isinstance(engine, VllmEngine):
        return None
    # Not resolved: a virtual environment's interpreter is a link, and what it points to knows no packages.
    return Path(engine.python).expanduser().absolute() if engine.python else python_of("vllm")


def engine_version(experiment: Experiment) -> str | None:
    """What stored figures depend on; None for the fake engine. Raises `EngineUnavailable`."""
    if experiment.engine.kind == "llama.cpp":
        return WHEEL_VERSION
    python = interpreter(experiment)
    return None if python is None else vllm_packages(python)["vllm"]
