"""The artifacts of an experiment, and what a run needs to know of them."""

import hashlib
from functools import partial
from pathlib import Path

from quantcheck.environments import python_of
from quantcheck.errors import ModelError
from quantcheck.runner.progress import Progress
from quantcheck.spec.experiment import Experiment
from quantcheck.variants.artifact import Artifact
from quantcheck.variants.folders import prepare_folders
from quantcheck.variants.gguf_file import GgufFile
from quantcheck.variants.make import prepare

__all__ = ["artifacts_of", "vocabulary_size"]

_FAKE_VOCABULARY = 32_000


def artifacts_of(experiment: Experiment, progress: Progress) -> dict[str, Artifact]:
    """Every variant's artifact, from the cache or made now. The fake engine has none: stand-ins without a file."""
    if experiment.engine.kind == "fake":
        return {name: _stand_in(name, variant.scheme) for name, variant in experiment.variants.items()}
    if experiment.engine.kind == "vllm":
        return prepare_folders(experiment.model, experiment.variants, random=experiment.weights == "random",
                               compressor=partial(python_of, "llm-compressor"), progress=progress.preparing)
    return prepare(experiment.model, experiment.variants, random=experiment.weights == "random",
                   progress=progress.preparing)


def vocabulary_size(artifact: Artifact) -> int:
    """Number of token ids that prompts may be drawn from. Raises `ModelError` for a file without an embedding."""
    if "vocabulary" in artifact.recipe:
        return int(artifact.recipe["vocabulary"])
    for tensor in GgufFile(artifact.path).tensors:
        if tensor.name == "token_embd.weight":
            return int(tensor.shape[0])
    raise ModelError(f"{artifact.path}: has no token_embd.weight; give a GGUF file of a language model")


def _stand_in(name: str, scheme: str | None) -> Artifact:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Artifact(name, Path(), {"scheme": scheme, "sha256": digest, "vocabulary": _FAKE_VOCABULARY})
