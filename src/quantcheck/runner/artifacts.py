"""The artifacts of an experiment, and what a run needs to know of them."""

import hashlib
from functools import partial
from pathlib import Path

from quantcheck.environments import python_of
from quantcheck.errors import ModelError, QuantcheckError
from quantcheck.runner.endpoints import prepare_endpoints
from quantcheck.runner.progress import Progress
from quantcheck.spec.experiment import Experiment
from quantcheck.variants.artifact import Artifact
from quantcheck.variants.folders import prepare_folders
from quantcheck.variants.gguf_file import GgufFile
from quantcheck.variants.make import prepare

__all__ = ["artifacts_of", "vocabulary_size"]

_FAKE_VOCABULARY = 32_000


def artifacts_of(experiment: Experiment, progress: Progress) -> tuple[dict[str, Artifact], dict[str, str]]:
    """Every variant's artifact, from the cache or made now, and why others cannot be made, both by variant.

    The baseline's comes first, and its failure is raised, because nothing could be compared; so is a `SpecError`, the
    user's mistake. The fake engine has no artifacts, nor have servers of the user's here: stand-ins without a file.
    """
    failed: dict[str, str] = {}

    def on_failure(name: str, error: QuantcheckError) -> None:
        if name == experiment.baseline:
            raise error
        failed[name] = str(error)
        progress.note(f"{name}: {error}")

    first = {experiment.baseline: experiment.variants[experiment.baseline]}
    variants = {**first, **experiment.variants}
    random, hear = experiment.weights == "random", progress.preparing
    if experiment.engine.kind == "fake":
        made = {name: _stand_in(name, variant.scheme) for name, variant in variants.items()}
    elif experiment.engine.kind == "openai":
        made = prepare_endpoints(experiment.model_copy(update={"variants": variants}), on_failure)
    elif experiment.engine.kind in ("vllm", "transformers"):
        made = prepare_folders(experiment.model, variants, random=random, progress=hear, on_failure=on_failure,
                               compressor=partial(python_of, "llm-compressor"))
    else:
        made = prepare(experiment.model, variants, random=random, progress=hear, on_failure=on_failure)
    return {name: made[name] for name in experiment.variants if name in made}, failed


def vocabulary_size(artifact: Artifact) -> int:
    """Number of token ids that prompts may be drawn from. Raises `ModelError` where the files do not tell it."""
    if "vocabulary" in artifact.recipe:
        size = artifact.recipe["vocabulary"]
        if not isinstance(size, int) or size < 1:
            raise ModelError(f"{artifact.path}: config.json has no vocab_size; give a language model's folder")
        return size
    for tensor in GgufFile(artifact.path).tensors:
        if tensor.name == "token_embd.weight":
            return int(tensor.shape[0])
    raise ModelError(f"{artifact.path}: has no token_embd.weight; give a GGUF file of a language model")


def _stand_in(name: str, scheme: str | None) -> Artifact:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Artifact(name, Path(), {"scheme": scheme, "sha256": digest, "vocabulary": _FAKE_VOCABULARY})
