"""One checkpoint through two engines: does the damage belong to the weights, or to the kernels that compute with them?

The baseline and one variant are scored on the same tokens by the experiment's engine and by a second one. What the
variant loses in both is in its weights; what it loses under one alone, that engine's kernels add.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quantcheck.errors import MeasurementError, ModelError, SpecError
from quantcheck.quality.apart import apart
from quantcheck.report.through import ThroughReport, through_report
from quantcheck.runner.artifacts import artifacts_of
from quantcheck.runner.locate import TOKENS, corpus_of, require_variant
from quantcheck.runner.plan import make_plan
from quantcheck.runner.progress import Progress, Silent
from quantcheck.runner.scoring import score
from quantcheck.spec.document import read
from quantcheck.spec.experiment import Engine, Experiment, TransformersEngine, Variant, VllmEngine
from quantcheck.store import Store
from quantcheck.variants.artifact import Artifact, cache_root
from quantcheck.variants.hashing import Hashes
from quantcheck.variants.restore import restore
from quantcheck.variants.source import find_model

__all__ = ["second_engine", "through"]

_LOCAL = ("llama.cpp", "transformers")
_WITH = ("llama.cpp", "transformers", "vllm")
_SPARE = {"vllm": 1}
"""Tokens of the context that an engine keeps for itself: vLLM's server writes one after those that it scores."""


def second_engine(named: str) -> Engine:
    """What `--through` names: an engine, with its defaults, or an experiment's file, whose engine it is.

    transformers computes in float32 then. Raises `SpecError`.
    """
    if named == "transformers":
        return TransformersEngine(dtype="float32")
    if named == "vllm":
        return VllmEngine()
    if Path(named).suffix in (".yaml", ".yml"):
        return read(Path(named)).engine
    raise SpecError(f"--through {named}: give transformers, vllm, or an experiment's file (.yaml) whose engine it is")


def through(
    experiment: Experiment, variant: str, engine: Engine, progress: Progress | None = None, *,
    corpus: str | None = None, tokens: int = TOKENS,
) -> ThroughReport:
    """Score the baseline and `variant` of `experiment` with its engine and with `engine`, on `tokens` of a corpus.

    Under a second engine that reads no GGUF files, one is restored to float32 (`variants.restore`). Raises `SpecError`
    where the two engines cannot be compared, and what scoring raises. Nothing is stored.
    """
    progress = progress or Silent()
    require_variant(experiment, variant)
    suite = corpus_of(experiment, corpus)
    _fit(experiment.engine, engine)
    names = experiment.baseline, variant
    with _scratch() as folder:
        # The user's mistakes in all four come before the first is scored.
        room = max(_SPARE.get(kind, 0) for kind in (experiment.engine.kind, engine.kind))
        first = [_alone(experiment, name, suite, tokens, experiment.engine, room) for name in names]
        artifacts = [_artifact(one, progress) for one in first]
        second = [_other(one, artifact, engine, folder / f"weights-{place}", progress)
                  for place, (one, artifact) in enumerate(zip(first, artifacts, strict=True))]
        kept = [_kept(one, artifact, folder / f"score-{place}", progress) for place, (one, artifact) in enumerate(
            [*zip(first, artifacts, strict=True), *((other, _artifact(other, progress)) for other in second)])]
        if len({one.prompts for one in kept}) > 1:
            raise ModelError(f"{suite}: the two engines cut the text into other tokens: they cannot be compared")
        base, mine, base_there, mine_there = kept
        found = {"here": apart(base.path, mine.path), "there": apart(base_there.path, mine_there.path),
                 "baseline": apart(base.path, base_there.path), "variant": apart(mine.path, mine_there.path)}
    return through_report(
        {name: (kl, same) for name, (kl, same, _) in found.items()}, base.document, variant=variant,
        baseline=experiment.baseline, engines=(experiment.engine.kind, engine.kind), corpus=suite,
        top_k=min((k for _, _, k in found.values() if k is not None), default=None),
    )


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder that is gone afterwards, but for the logs that the message of an engine's error names."""
    folder = Path(tempfile.mkdtemp(prefix="quantcheck-through-"))
    logs: list[Path] = []
    try:
        yield folder
    except MeasurementError:
        logs = list(folder.glob("score-*/logs"))
        raise
    finally:
        for path in folder.glob("*/*" if logs else "*"):
            if path not in logs:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not logs:
            folder.rmdir()


def _fit(mine: Any, other: Any) -> None:
    for engine in (mine, other):
        if engine.kind not in _WITH:
            raise SpecError(f"{engine.kind}: an engine that is no llama.cpp, transformers or vllm cannot be given a "
                            "checkpoint to compare; take one of these")
    if mine.model_copy(update={"threads": None}) == other.model_copy(update={"threads": None}):
        raise SpecError(f"--through {other.kind}: is the experiment's engine with the same settings; name another")
    if other.kind == "llama.cpp" and mine.kind != "llama.cpp":
        raise SpecError("--through llama.cpp: reads GGUF files, and the experiment's variants are folders; take an "
                        "experiment with GGUF variants, and transformers as the second engine")


def _alone(experiment: Experiment, name: str, suite: str, tokens: int, engine: Engine, room: int) -> Experiment:
    """An experiment that does nothing but keep the distributions of the variant `name` on one corpus.

    `room`: tokens by which the windows are shorter than the experiment's, so that both engines can hold them.
    """
    quality = experiment.quality
    assert quality is not None
    text = quality.texts.get(suite)
    context = quality.context - room
    narrowed = quality.model_copy(update={
        "context": context, "stride": min(quality.stride, context - 1),
        "suites": [] if text else [suite], "tokens": tokens, "tasks": {}, "continuations": None, "stop": "never",
        "texts": {suite: text.model_copy(update={"tokens": tokens})} if text else {}, "fewshot": None,
        "divergence": "full" if engine.kind in _LOCAL else None})
    return Experiment.model_validate({
        "name": experiment.name, "model": experiment.model, "baseline": name, "engine": engine.model_dump(),
        "variants": {name: experiment.variants[name].model_dump(by_alias=True)}, "noise_floor": False,
        "quality": narrowed.model_dump(), "seed": experiment.seed})


def _artifact(one: Experiment, progress: Progress) -> Artifact:
    made, failed = artifacts_of(one, progress)
    if failed:
        raise SpecError(f"{next(iter(failed))}: {next(iter(failed.values()))}")
    return made[one.baseline]


def _other(one: Experiment, artifact: Artifact, engine: Engine, folder: Path, progress: Progress) -> Experiment:
    """The same checkpoint for the second engine."""
    if engine.kind == one.engine.kind or one.engine.kind != "llama.cpp":
        return _with(one, engine, one.variants[one.baseline])
    source = find_model(one.model, Path.cwd(), Hashes(cache_root() / "hashes.json"))
    if source.kind != "huggingface":
        raise SpecError(f"model: {one.model} is a GGUF file, and {engine.kind} needs configuration and tokenizer of a "
                        "Hugging Face folder; name the folder that it was made of")
    progress.preparing(f"{one.baseline}: the file's values as float32 for {engine.kind}")
    restore(artifact.path, source.path, folder)
    return _with(one, engine, Variant(checkpoint=str(folder)))


def _with(one: Experiment, engine: Engine, variant: Variant) -> Experiment:
    narrowed = one.model_copy(update={"variants": {one.baseline: variant}})
    assert narrowed.quality is not None
    return Experiment.model_validate({
        **narrowed.model_dump(by_alias=True), "engine": engine.model_dump(),
        "quality": {**narrowed.quality.model_dump(), "divergence": "full" if engine.kind in _LOCAL else None}})


@dataclass(frozen=True, slots=True)
class _Kept:
    """Where one model's distributions are, and of what: `prompts` is the hash of all token ids."""

    path: Path
    prompts: str
    document: npt.NDArray[np.int32]


def _kept(one: Experiment, artifact: Artifact, folder: Path, progress: Progress) -> _Kept:
    plan, store = make_plan(one), Store(folder)
    store.lock()
    try:
        step, artifacts = plan.baseline_step, {one.baseline: artifact}
        keys = {subject: plan.key(step, subject, artifacts) for subject in step.subjects}
        progress.begin(list(plan.tasks()), 0)
        for reason in score(plan, step, keys, artifacts, store, progress).values():
            raise MeasurementError(reason)
        (key,) = keys.values()
        cell = store.cell(key)
        (path,) = [path for path in store.work.glob("logits-*") if path.suffix in (".f32", ".npz")]
        return _Kept(path, cell.record["result"]["prompts_sha256"], cell.table("tokens")["document"])
    finally:
        store.unlock()
