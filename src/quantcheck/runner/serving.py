"""The engine of an experiment, for one variant: with the interpreter and the options that belong to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quantcheck.engines.base import Engine
from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.engines.open import open_engine
from quantcheck.engines.scorer import TOP_K
from quantcheck.engines.vllm_python import vllm_packages
from quantcheck.environments import python_of
from quantcheck.environments.native import Native, native
from quantcheck.errors import SpecError
from quantcheck.ggml.library import WHEEL_VERSION
from quantcheck.quality.job import encode
from quantcheck.quality.named import TASK_CONTEXT
from quantcheck.quality.suites import Corpus, NamedTask, Suite
from quantcheck.runner.endpoints import running_server
from quantcheck.runner.loading import packages_of, python_with_transformers, scoring_batch
from quantcheck.spec.experiment import Experiment, LlamaCppEngine, OpenAIEngine, TransformersEngine, VllmEngine
from quantcheck.variants.artifact import Artifact
from quantcheck.variants.shapes import read_config_file

__all__ = ["engine_of", "engine_version", "interpreter", "library_of", "own_arguments", "scored_at_once",
           "scored_tokens", "scoring_depends", "scoring_engine"]

SCORED_AT_ONCE, AGAIN_AT_ONCE = 16, 5
"""Requests in flight when a server scores, and when it scores the twin."""
AGAIN_SHARE = 3
AGAIN_BATCH = 512
"""`max-num-batched-tokens` of the twin's server: other batches, other rounding, as with llama.cpp."""


def engine_of(
    experiment: Experiment, entry: str, variant: str, artifact: Artifact, *, slots: int, tokens: int, log: Path,
    options: Mapping[str, Any] | None = None,
) -> Engine:
    """A new, not yet started engine that serves `artifact` under the name `entry`; raises what `open_engine` raises.

    `options` are vLLM's, before all others.
    """
    if isinstance(experiment.engine, OpenAIEngine):
        return running_server(experiment.engine, artifact.recipe)
    assert not isinstance(experiment.engine, TransformersEngine)  # which is no server
    return open_engine(
        experiment.engine, variant=entry, model=artifact.path, slots=slots, tokens=tokens, log=log,
        python=interpreter(experiment), arguments={**own_arguments(experiment, variant, artifact), **(options or {})},
        native=compiled.server if (compiled := _native_of(experiment)) else None,
    )


def interpreter(experiment: Experiment) -> Path | None:
    """Of the engine's own environment; None for an engine that runs in ours. Raises `EngineUnavailable`."""
    engine = experiment.engine
    if isinstance(engine, TransformersEngine):
        return python_with_transformers(engine)
    if not isinstance(engine, VllmEngine):
        return None
    # Not resolved: a virtual environment's interpreter is a link, and what it points to knows no packages.
    return Path(engine.python).expanduser().absolute() if engine.python else python_of("vllm")


def engine_version(experiment: Experiment) -> str | None:
    """What stored figures depend on; None for the fake engine. Raises `EngineUnavailable`."""
    if isinstance(experiment.engine, LlamaCppEngine):
        return f"{WHEEL_VERSION} native" if _native_of(experiment) else WHEEL_VERSION
    if isinstance(experiment.engine, TransformersEngine):
        return packages_of(experiment.engine)
    python = interpreter(experiment)
    return None if python is None else vllm_packages(python)["vllm"]


def _native_of(experiment: Experiment) -> Native | None:
    """llama.cpp as it was compiled here, where it is asked for. Raises `EngineUnavailable` where it is not installed.
    """
    engine = experiment.engine
    return native() if isinstance(engine, LlamaCppEngine) and engine.build == "native" else None


def library_of(experiment: Experiment) -> Path | None:
    """llama.cpp's shared object, where it is not the wheel's. Raises `EngineUnavailable` where it is not installed."""
    compiled = _native_of(experiment)
    return compiled.library if compiled else None


def scored_at_once(experiment: Experiment, *, again: bool) -> int:
    """Requests that a server is sent at once; `again`: for the twin, which has other batches."""
    if isinstance(experiment.engine, OpenAIEngine):
        count = experiment.engine.concurrency
        return (count // AGAIN_SHARE or AGAIN_SHARE) if again else count
    return AGAIN_AT_ONCE if again else SCORED_AT_ONCE


def scoring_engine(
    experiment: Experiment, entry: str, variant: str, artifact: Artifact, *, tokens: int, again: bool, log: Path
) -> Engine:
    """What answers a scoring process, sequences of up to `tokens` tokens: a new, not yet started vLLM server, or the
    one that the user runs.
    """
    if isinstance(experiment.engine, OpenAIEngine):
        return running_server(experiment.engine, artifact.recipe)
    options = _scoring_options(_arguments(experiment, variant, artifact), tokens, again=again)
    return engine_of(experiment, entry, variant, artifact, slots=scored_at_once(experiment, again=again),
                     tokens=tokens, log=log, options=options)


def scored_tokens(experiment: Experiment, suites: Sequence[Suite], artifacts: Mapping[str, Artifact]) -> int:
    """Tokens that a server's context must hold to score `suites`: the longest sequence, its answer, and one more.

    It writes one token after what it scores. Raises `SpecError` when a variant of `artifacts` holds fewer.
    """
    quality = experiment.quality
    assert quality is not None
    tokenizer = FolderTokenizer(artifacts[experiment.baseline].path)
    own = [suite for suite in suites if not isinstance(suite, NamedTask)]
    needs = [encode(suite, tokenizer, quality).context + 1 for suite in own]
    limits = {name: _holds(experiment, name, artifact) for name, artifact in artifacts.items()}
    for name, most in limits.items():
        for suite, need in zip(own, needs, strict=True):
            if most is None or need <= most:
                continue
            if isinstance(suite, Corpus):
                raise SpecError(f"quality.context: {quality.context} is too large: {name} holds {most} tokens, and "
                                "a server writes one after those that it scores; the largest possible value is "
                                f"{most - 1}")
            raise SpecError(f"quality.suites: {suite.name} needs {need} tokens for its longest prompt with the answer, "
                            f"and {name} holds {most}; leave the suite out")
    if len(own) < len(suites):  # named tasks cut what does not fit
        needs.append(min([TASK_CONTEXT + 2, *(most for most in limits.values() if most is not None)]))
    return max(needs)


def scoring_depends(experiment: Experiment, variant: str, artifact: Artifact, *, again: bool = False) -> object:
    """What the figures of quality depend on besides the artifact, the version and the items."""
    engine = experiment.engine
    if isinstance(engine, TransformersEngine):
        told = engine.model_dump(include={"dtype", "device", "attention"})
        return {"kind": engine.kind, **told, "args": own_arguments(experiment, variant, artifact),
                "batch": scoring_batch(engine, again=again)}
    if isinstance(engine, OpenAIEngine):
        return {"kind": engine.kind, "top_k": engine.top_logprobs,
                "concurrency": scored_at_once(experiment, again=again)}
    if not isinstance(engine, VllmEngine):
        return engine.kind
    arguments = _arguments(experiment, variant, artifact)
    options = _scoring_options(arguments, tokens=0, again=again)
    options.pop("max-model-len", None)  # a limit, which all sequences keep
    return {"kind": engine.kind, "args": {**arguments, **options}, "environment": engine.environment, "top_k": TOP_K,
            "concurrency": scored_at_once(experiment, again=again)}


def _scoring_options(given: Mapping[str, Any], tokens: int, *, again: bool) -> dict[str, Any]:
    """Options that scoring needs beside those that are `given`, or in their place."""
    options: dict[str, Any] = {}
    listed = given.get("max-logprobs")
    if not isinstance(listed, int) or 0 <= listed < TOP_K:  # negative: as many as there are
        options["max-logprobs"] = TOP_K
    if "max-model-len" not in given:
        options["max-model-len"] = tokens
    # Without chunks, a batch must hold the longest sequence: then concurrency alone makes the twin's batches differ.
    if again and given.get("enable-chunked-prefill") is not False:
        batch = AGAIN_BATCH if given.get("max-num-batched-tokens") != AGAIN_BATCH else 2 * AGAIN_BATCH
        sequences = given.get("max-num-seqs")
        options["max-num-batched-tokens"] = max(batch, sequences) if isinstance(sequences, int) else batch
    return options


def own_arguments(experiment: Experiment, variant: str, artifact: Artifact) -> dict[str, Any]:
    """What the engine is told for this variant alone: options of `vllm serve`, or how transformers loads it."""
    return {**artifact.recipe.get("engine_args", {}), **experiment.variants[variant].args}


def _arguments(experiment: Experiment, variant: str, artifact: Artifact) -> dict[str, Any]:
    """All options of `vllm serve` that follow from the experiment."""
    engine = experiment.engine
    assert isinstance(engine, VllmEngine)
    return {**engine.args, **own_arguments(experiment, variant, artifact)}


def _holds(experiment: Experiment, variant: str, artifact: Artifact) -> int | None:
    """Tokens of the longest sequence that the variant's server takes; None where only the server knows."""
    if isinstance(experiment.engine, OpenAIEngine):
        given = experiment.engine.context or artifact.recipe["served"].get("max_model_len")
    else:
        given = _arguments(experiment, variant, artifact).get("max-model-len")
    if given is not None:
        return given if isinstance(given, int) and given > 0 else None
    config = read_config_file(artifact.path / "config.json")
    most = (config.get("text_config") or config).get("max_position_embeddings")
    return most if isinstance(most, int) else None
