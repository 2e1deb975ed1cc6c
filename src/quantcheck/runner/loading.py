"""A variant as transformers loads it: the interpreter, and what follows from experiment and artifact."""

from pathlib import Path

from quantcheck.engines.hf.process import Loaded, transformers_packages
from quantcheck.environments import python_of
from quantcheck.spec.experiment import Experiment, TransformersEngine
from quantcheck.variants.artifact import Artifact

__all__ = ["loaded_of", "packages_of", "python_with_transformers", "scoring_batch"]

AGAIN_SHARE = 3


def loaded_of(experiment: Experiment, artifact: Artifact) -> Loaded:
    """How the worker of `artifact` loads it; raises `EngineUnavailable`.

    The dtype of a scheme that names one (fp16) goes before the engine's.
    """
    engine = experiment.engine
    assert isinstance(engine, TransformersEngine)
    given = artifact.recipe.get("engine_args", {})
    return Loaded(
        python=python_with_transformers(engine), folder=artifact.path, dtype=given.get("dtype", engine.dtype),
        device=engine.device, attention=engine.attention, threads=engine.threads,
        quantization=given.get("quantization"), random=artifact.recipe.get("weights") == "random",
        seed=experiment.seed, start_timeout_s=engine.start_timeout_s,
    )


def python_with_transformers(engine: TransformersEngine) -> Path:
    """The interpreter that the user names, or that of the environment; raises `EngineUnavailable`."""
    # Not resolved: a virtual environment's interpreter is a link, and what it points to knows no packages.
    return Path(engine.python).expanduser().absolute() if engine.python else python_of("transformers")


def packages_of(engine: TransformersEngine) -> str:
    """The versions that stored figures depend on, as one text."""
    found = transformers_packages(python_with_transformers(engine))
    return ", ".join(f"{name} {version}" for name, version in found.items() if name != "python")


def scoring_batch(engine: TransformersEngine, *, again: bool) -> tuple[int, int]:
    """Sequences and tokens that are scored at once; `again`: for the twin, which has other batches.

    Where a batch is one sequence already, the twin's has more.
    """
    size = engine.batch_size
    if not again:
        return size, engine.batch_tokens
    return (max(1, size // AGAIN_SHARE), max(1, engine.batch_tokens // AGAIN_SHARE)) if size > 1 else (
        AGAIN_SHARE, AGAIN_SHARE * engine.batch_tokens)
