"""What one step needs of a node: GPUs, CPUs and memory, as they follow from the engine."""

from dataclasses import dataclass
from typing import Any, Literal

from quantcheck.spec.experiment import Experiment, LlamaCppEngine, TransformersEngine, VllmEngine
from quantcheck.variants.artifact import Artifact

__all__ = ["Needs", "needs_of"]

_PARALLEL = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")


@dataclass(frozen=True, slots=True)
class Needs:
    """`cpus` None: all that the node has. `memory` in bytes, of the host."""

    gpus: int
    cpus: int | None
    memory: int


def needs_of(experiment: Experiment, variant: str, artifact: Artifact, kind: Literal["quality", "load"],
             *, gpus_there: bool) -> Needs:
    """Of one step. `gpus_there`: some node has a GPU; else engines that can do without run on CPUs.

    A step of speed takes all CPUs of its node, so that no other task of Ray runs beside it.
    """
    gpus = _gpus(experiment, variant, artifact) if gpus_there else 0
    memory = 0 if gpus else int(artifact.recipe.get("bytes") or 0)
    if kind == "load":
        return Needs(gpus, None, memory)
    engine = experiment.engine
    if gpus:
        return Needs(gpus, gpus, memory)
    if isinstance(engine, LlamaCppEngine):
        return Needs(0, engine.scoring_threads, memory)
    if isinstance(engine, TransformersEngine):
        return Needs(0, engine.threads, memory)
    return Needs(0, 1 if engine.kind == "openai" else None, memory)


def _gpus(experiment: Experiment, variant: str, artifact: Artifact) -> int:
    engine = experiment.engine
    if isinstance(engine, TransformersEngine):
        return 0 if engine.device == "cpu" else 1
    if not isinstance(engine, VllmEngine):
        return 0
    told: dict[str, Any] = {**engine.args, **artifact.recipe.get("engine_args", {}),
                            **experiment.variants[variant].args}
    count = 1
    for name in _PARALLEL:
        value = told.get(name)
        count *= value if isinstance(value, int) and value > 0 else 1
    return count
