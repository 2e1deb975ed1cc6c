"""The quality cells: a scoring process is started, watched, and its results stored suite by suite."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quantcheck.process.managed import ManagedProcess
from quantcheck.quality.corpus import is_kept, piece_of
from quantcheck.quality.early import EarlyStop
from quantcheck.quality.job import Job
from quantcheck.quality.parts import Part, Span
from quantcheck.quality.scorers import Held, Server
from quantcheck.quality.suites import Corpus, JudgedSuite
from quantcheck.runner.listen import events_of, raised
from quantcheck.runner.loading import loaded_of, scoring_batch
from quantcheck.runner.plan import Plan, QualityStep
from quantcheck.runner.progress import Progress
from quantcheck.runner.serving import library_of, scored_at_once, scored_tokens, scoring_engine
from quantcheck.spec.experiment import AGAIN, LlamaCppEngine, OpenAIEngine, TransformersEngine
from quantcheck.store import Cell, CellKey, Store
from quantcheck.telemetry.gpu_memory import GpuMemory
from quantcheck.variants.artifact import Artifact

__all__ = ["Share", "score", "store_quality"]

BATCH_TOKENS = 512
AGAIN_BATCH_TOKENS = 192
"""llama.cpp's. The twin is scored in another batch shape: what changes is rounding, the noise floor of quality."""

ANSWER_S = 300.0
"""The deadline of one question to a server."""


@dataclass(frozen=True, slots=True)
class Share:
    """What of a step's suites is measured, and where the parts go: `keep` is given the key, the part and the record.

    The record is that of a cell without the result.
    """

    spans: Mapping[str, Span]
    keep: Callable[[CellKey, Part, dict[str, Any]], None]


def score(
    plan: Plan, step: QualityStep, keys: Mapping[str, CellKey], artifacts: Mapping[str, Artifact],
    store: Store, progress: Progress, share: Share | None = None,
) -> dict[str, str]:
    """Measure and store the cells of `step` whose subjects are in `keys`; returns why others have none, by subject.

    With a `share`, its spans of them are measured, and kept by it. Makes the baseline's logits first when they are
    needed and not there any more. Raises what the process raised, or `EngineError` when it died or said nothing for
    `SILENCE_S`.
    """
    spans = share.spans if share else None
    corpora = [suite.name for suite in step.suites if isinstance(suite, Corpus) and suite.name in keys]
    if step.entry != plan.baseline:
        kept = {name: _logits(plan, name, artifacts, store) for name in corpora}
        missing = [name for name, path in kept.items()
                   if not is_kept(path) and not (spans and is_kept(piece_of(path, spans[name])))]
        if missing:
            if spans is None:
                progress.note(f"scoring {plan.baseline} again on {', '.join(missing)}: its logits were cleared")
            for _ in _run(plan, step, missing, plan.baseline, artifacts, store, progress, spans):
                pass
    started, began = time.time(), time.monotonic()  # the first tells when, the second how long: a clock may be set
    not_answered: dict[str, str] = {}
    for found in _run(plan, step, list(keys), step.entry, artifacts, store, progress, spans):
        subject, key = found.subject, keys[found.subject]
        record = {
            "started_at": started,
            "duration_s": found.seconds,
            "engine": found.engine,
            "artifact_sha256": artifacts[step.variant].sha256,
        }
        if found.why_not is not None:
            not_answered[subject] = found.why_not
            progress.finished(step.entry, subject, 0, time.monotonic() - began)
        elif share and found.part:
            share.keep(key, found.part, record)
        else:
            store_quality(store, key, record, found.result, found.table)
            progress.finished(step.entry, subject, 0, found.seconds)
        started, began = time.time(), time.monotonic()
    return not_answered


def store_quality(
    store: Store, key: CellKey, record: Mapping[str, Any], result: Mapping[str, Any], table: Mapping[str, Any]
) -> None:
    """Store a quality cell: its result, and the rows that this was made of."""
    name = "tokens" if result["kind"] == "perplexity" else "items"
    store.write(key, {**record, "result": result}, {name: dict(table)})


def threads(plan: Plan) -> int:
    """Threads that score: all cores, because nothing is timed."""
    engine = plan.experiment.engine
    return getattr(engine, "scoring_threads", None) or len(os.sched_getaffinity(0))


def _batch(entry: str) -> int:
    return AGAIN_BATCH_TOKENS if entry.endswith(AGAIN) else BATCH_TOKENS


def _logits(plan: Plan, corpus: str, artifacts: Mapping[str, Artifact], store: Store) -> Path:
    key = plan.key(plan.baseline_step, corpus, artifacts)
    kept = "npz" if plan.experiment.engine.kind in ("vllm", "openai") else "f32"  # the likeliest tokens, or all logits
    return store.work / f"logits-{key.id.replace(plan.baseline + '.', '', 1)}.{kept}"


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of a suite: `result` and `table` of all of it, or a `part`, or `why_not`; `engine`: facts of it."""

    subject: str
    engine: dict[str, Any]
    seconds: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)
    table: dict[str, Any] = field(default_factory=dict)
    part: Part | None = None
    why_not: str | None = None


def _run(
    plan: Plan, step: QualityStep, subjects: list[str], entry: str, artifacts: Mapping[str, Artifact],
    store: Store, progress: Progress, spans: Mapping[str, Span] | None,
) -> Iterator[_Found]:
    """Start one scoring process; yields what came of the suites as they are finished."""
    assert plan.experiment.quality is not None
    variant = plan.baseline if entry == plan.baseline else step.variant
    folder = store.work / f"score-{entry}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with _engine(plan, step, entry, variant, artifacts, store, progress) as engine:
        job = Job(
            model=artifacts[variant].path,
            quality=plan.experiment.quality,
            suites=subjects,
            role="baseline" if entry == plan.baseline else "variant",
            logits={suite.name: _logits(plan, suite.name, artifacts, store)
                    for suite in step.suites if isinstance(suite, Corpus)},
            threads=threads(plan),
            batch_tokens=engine.batch_tokens,
            entry=entry,
            seed=plan.experiment.seed,
            early=_early(plan, step, subjects, entry, artifacts, store),
            server=engine.server,
            held=engine.held,
            library=engine.library,
            spans=None if spans is None else dict(spans),
        )
        (folder / "job.json").write_text(job.model_dump_json(by_alias=True), encoding="utf-8")
        process = ManagedProcess(
            [sys.executable, "-m", "quantcheck.quality.job", str(folder)],
            name=f"scoring of {entry}",
            log=store.logs / f"score-{entry}.log",
            environment={"OMP_WAIT_POLICY": "passive"},
        )
        finished = 0
        with process:
            for event in events_of(folder / "events.jsonl", process, progress, engine.check):
                if "error" in event:
                    raise raised(event)
                if "engine" in event:
                    engine.facts.update(event["engine"])
                    progress.started(entry, engine.facts["ready_s"])
                if "suite" not in event:
                    continue
                if "done" in event:
                    progress.step(entry, event["suite"], event["done"], event["of"])
                    continue
                yield _found(event, folder / f"{finished}.npz", engine.facts)
                finished += 1
                if finished == len(subjects):
                    break
    shutil.rmtree(folder, ignore_errors=True)


def _found(event: Mapping[str, Any], arrays: Path, engine: dict[str, Any]) -> _Found:
    if "why_not" in event:
        return _Found(event["suite"], engine, why_not=event["why_not"])
    if "part" in event:
        return _Found(event["suite"], engine, event["seconds"], part=Part.unpacked(arrays.read_bytes()))
    result = dict(event["result"])
    with np.load(arrays, allow_pickle=False) as table:
        return _Found(event["suite"], engine, result.pop("seconds"), result, dict(table))


@dataclass(frozen=True, slots=True)
class _Engine:
    """What answers a scoring process: a server that was started for it, a worker of its own (`held`), or llama.cpp.

    `check` raises `EngineError` when the server is gone; `facts` are for the record. `batch_tokens` of the other two.
    `library`: llama.cpp's, where it is not the wheel's.
    """

    server: Server | None
    check: Callable[[], None]
    facts: dict[str, Any]
    batch_tokens: int
    held: Held | None = None
    library: Path | None = None


@contextmanager
def _engine(
    plan: Plan, step: QualityStep, entry: str, variant: str, artifacts: Mapping[str, Artifact], store: Store,
    progress: Progress,
) -> Iterator[_Engine]:
    """vLLM is started for one scoring process, and ended with it; a server of the user's is asked, and stays."""
    experiment = plan.experiment
    if isinstance(experiment.engine, LlamaCppEngine):
        batch = _batch(entry)
        facts = {"build": experiment.engine.build, "threads": threads(plan), "batch_tokens": batch}
        yield _Engine(None, lambda: None, facts, batch, library=library_of(experiment))
        return
    if isinstance(experiment.engine, TransformersEngine):
        size, most = scoring_batch(experiment.engine, again=entry.endswith(AGAIN))
        held = Held(loaded=loaded_of(experiment, artifacts[variant]), batch_size=size,
                    log=store.logs / f"score-{entry}-worker.log")
        progress.step(entry, "starting", 0, 1)
        with GpuMemory(progress.note):
            yield _Engine(None, lambda: None, {}, most, held)
        return
    # Of all suites, also those that are stored: a run that was resumed serves them as the others did.
    tokens, again = scored_tokens(experiment, step.suites, artifacts), entry.endswith(AGAIN)
    log = store.logs / f"score-{entry}-server.log"
    engine = scoring_engine(experiment, entry, variant, artifacts[variant], tokens=tokens, again=again, log=log)
    progress.step(entry, "starting", 0, 1)
    with GpuMemory(progress.note), engine:
        if engine.ready_s is not None:
            progress.started(entry, engine.ready_s)
        endpoint, at_once = engine.endpoint, scored_at_once(experiment, again=again)
        server = Server(base_url=endpoint.base_url, model=endpoint.model, context=tokens, concurrency=at_once,
                        timeout_s=ANSWER_S, log=log)
        if isinstance(experiment.engine, OpenAIEngine):
            server = server.model_copy(update={"kind": "openai", "log": None, "top_k": experiment.engine.top_logprobs,
                                               "key_variable": experiment.engine.api_key_env})
        facts = {**engine.describe(), "concurrency": at_once, "top_k": server.top_k}
        yield _Engine(server, engine.check, facts, _batch(entry))


def _early(
    plan: Plan, step: QualityStep, subjects: list[str], entry: str, artifacts: Mapping[str, Artifact], store: Store
) -> EarlyStop | None:
    """What lets a variant's tasks end early; None where all items are answered.

    The baseline and its twin answer all: the variants are held against the one, and the noise floor is the other.
    """
    if not plan.stops_early(entry):
        return None
    margin = plan.experiment.policy.margin
    baseline = plan.baseline_step
    tasks = [suite for suite in step.suites if isinstance(suite, JudgedSuite)]
    # A task over the hub's data is answered whole: which items it has is not known before it is asked.
    asked = [suite.name for suite in tasks if suite.items and suite.name in subjects
             and store.has(plan.key(baseline, suite.name, artifacts))]
    return EarlyStop(
        tasks=len(tasks),
        margins={name: margin.accuracy(name) for name in asked},
        baseline={name: _shares(store.cell(plan.key(baseline, name, artifacts))) for name in asked},
    )


def _shares(cell: Cell) -> dict[str, float]:
    """The share of right answers of every item of a stored task."""
    table = cell.table("items")
    ids, member = np.unique(np.asarray(table["id"]).astype(str), return_inverse=True)
    shares = np.bincount(member, weights=table["right"]) / np.bincount(member)
    return dict(zip(ids.tolist(), shares.tolist(), strict=True))
