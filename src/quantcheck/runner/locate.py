"""Which modules of a variant do the damage: artifacts, one scoring process, and a ranking with intervals."""

import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from quantcheck.errors import SpecError
from quantcheck.process.managed import ManagedProcess
from quantcheck.quality.locate import Located, LocateJob
from quantcheck.quality.scorers import Held
from quantcheck.quality.suites import Corpus, load_suites
from quantcheck.report.located import LocateReport, locate_report
from quantcheck.runner.artifacts import artifacts_of
from quantcheck.runner.listen import events_of, raised
from quantcheck.runner.loading import loaded_of, scoring_batch
from quantcheck.runner.plan import Task, make_plan
from quantcheck.runner.progress import Progress, Silent
from quantcheck.runner.scoring import BATCH_TOKENS, threads
from quantcheck.runner.serving import library_of
from quantcheck.spec.experiment import Experiment, TransformersEngine
from quantcheck.variants.artifact import Artifact
from quantcheck.variants.gguf_file import GgufFile

__all__ = ["TOKENS", "corpus_of", "locate", "require_variant"]

TOKENS = 4096
"""Enough to rank: a module's divergence is summed over them, and what matters is far apart."""


def locate(
    experiment: Experiment, variant: str, progress: Progress | None = None, *, corpus: str | None = None,
    tokens: int = TOKENS, reverse: bool = False,
) -> LocateReport:
    """Rank the modules in which `variant` differs from the baseline by the divergence that each makes alone.

    `corpus`: a perplexity corpus of the experiment, by default its first; `tokens` of it are scored, once for every
    module. `reverse`: the other way round, the divergence that is left when one module alone is the baseline's.

    Raises `SpecError` for a variant, corpus or engine with which this cannot be done, and what scoring raises. Nothing
    is stored.
    """
    progress = progress or Silent()
    _can_be(experiment, variant)
    suite = corpus_of(experiment, corpus)
    pair = experiment.model_copy(update={
        "variants": {name: experiment.variants[name] for name in (experiment.baseline, variant)},
        "load": None, "noise_floor": False})
    plan = make_plan(pair)
    artifacts, failed = artifacts_of(pair, progress)
    if failed:
        raise SpecError(f"{next(iter(failed))}: {next(iter(failed.values()))}")
    folder = Path(tempfile.mkdtemp(prefix="quantcheck-locate-"))
    try:
        job = _job(pair, variant, artifacts, suite, tokens, reverse, threads(plan), folder)
        found = _run(job, variant, folder, progress)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    types = {} if job.held else {
        name: _types(artifacts[entry].path) for name, entry in (("baseline", pair.baseline), ("variant", variant))}
    return locate_report(
        found.modules.tolist(), found.kl, found.whole, found.document, variant=variant, baseline=pair.baseline,
        corpus=suite, reverse=reverse, types=types, engine=pair.engine.kind,
        maker="" if pair.variants[variant].checkpoint else pair.variants[variant].maker,
    )


def require_variant(experiment: Experiment, variant: str) -> None:
    """Raises `SpecError` where `variant` is not one of the experiment's beside its baseline."""
    if variant not in experiment.variants or variant == experiment.baseline:
        others = [name for name in experiment.variants if name != experiment.baseline]
        raise SpecError(f"there is no variant {variant!r} beside the baseline; take one of {', '.join(others)}")


def _can_be(experiment: Experiment, variant: str) -> None:
    require_variant(experiment, variant)
    if experiment.engine.kind not in ("llama.cpp", "transformers"):
        raise SpecError(f"modules are exchanged within a model in this process's reach, and the engine is "
                        f"{experiment.engine.kind}; give the same variants `engine: {{kind: transformers}}`")


def corpus_of(experiment: Experiment, name: str | None) -> str:
    """The perplexity corpus `name` of the experiment, by default its first; raises `SpecError` without one."""
    if experiment.quality is None:
        raise SpecError("the experiment has no `quality:`; give it a perplexity corpus (quality.texts, wikitext2 ...)")
    corpora = [suite.name for suite in load_suites(experiment.quality) if isinstance(suite, Corpus)]
    if not corpora:
        raise SpecError("the experiment has no perplexity corpus; add one to quality.texts or quality.suites")
    if name is not None and name not in corpora:
        raise SpecError(f"there is no corpus {name!r} in the experiment; take one of {', '.join(corpora)}")
    return name or corpora[0]


def _job(
    pair: Experiment, variant: str, artifacts: Mapping[str, Artifact], suite: str, tokens: int, reverse: bool,
    cores: int, folder: Path,
) -> LocateJob:
    assert pair.quality is not None
    held = beside = None
    batch_tokens = BATCH_TOKENS
    if isinstance(pair.engine, TransformersEngine):
        size, batch_tokens = scoring_batch(pair.engine, again=False)
        held = Held(loaded=loaded_of(pair, artifacts[pair.baseline]), batch_size=size, log=folder / "worker.log")
        beside = loaded_of(pair, artifacts[variant])
    return LocateJob(
        baseline=artifacts[pair.baseline].path, variant=artifacts[variant].path, quality=pair.quality, suite=suite,
        tokens=tokens, threads=cores, batch_tokens=batch_tokens, reverse=reverse, held=held, beside=beside,
        library=library_of(pair),
    )


def _run(job: LocateJob, variant: str, folder: Path, progress: Progress) -> Located:
    (folder / "job.json").write_text(job.model_dump_json(by_alias=True), encoding="utf-8")
    process = ManagedProcess([sys.executable, "-m", "quantcheck.quality.locate", str(folder)],
                             name=f"locating in {variant}", log=folder / "locate.log",
                             environment={"OMP_WAIT_POLICY": "passive"})
    begun = time.monotonic()
    with process:
        for event in events_of(folder / "events.jsonl", process, progress, lambda: None):
            if "error" in event:
                raise raised(event)
            if "modules" in event:
                names = ["", *event["modules"]]
                progress.begin([Task(variant, name, 0, "quality", job.tokens, starts=False) for name in names], 0)
            if "done" in event:
                progress.finished(variant, event["done"], 0, time.monotonic() - begun)
                begun = time.monotonic()
            if "finished" in event:
                break
    with np.load(folder / "found.npz", allow_pickle=False) as arrays:
        return Located(**dict(arrays))


def _types(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type.name for tensor in GgufFile(path).tensors}
