"""The load cells: one engine start, all loads, then the engine is gone."""

import time
from collections.abc import Mapping
from typing import Any

from quantcheck.errors import EngineError
from quantcheck.load.guidellm import measure_with_guidellm
from quantcheck.load.measure import measure
from quantcheck.load.prompts import window_seed
from quantcheck.load.sending import Limits, Sending
from quantcheck.load.sizes import longest_request
from quantcheck.runner.artifacts import vocabulary_size
from quantcheck.runner.batches import measure_batches
from quantcheck.runner.clients import guidellm_of
from quantcheck.runner.endpoints import asked_of, sending_to
from quantcheck.runner.loaded import check_loaded
from quantcheck.runner.plan import LoadStep, Plan, requests_of
from quantcheck.runner.progress import Progress
from quantcheck.runner.reconcile import cached_tokens, server_record
from quantcheck.runner.serving import engine_of
from quantcheck.spec.experiment import OpenAIEngine
from quantcheck.store import Cell, CellKey, Store
from quantcheck.telemetry.clocks import Clocks
from quantcheck.telemetry.gpu_memory import GpuMemory
from quantcheck.telemetry.memory import process_memory, process_tree
from quantcheck.telemetry.nvml import GpuSampler
from quantcheck.variants.artifact import Artifact

__all__ = ["OPEN_SLOTS", "limited_by_client", "measure_block"]

TRIES = 3
"""How often a window is measured in which the client was the limit: a hiccup of the machine passes."""
OPEN_SLOTS = 8
"""Requests that an engine serves at once when the load is open and nothing else is said."""


def measure_block(
    plan: Plan, step: LoadStep, keys: Mapping[str, CellKey], artifacts: Mapping[str, Artifact],
    store: Store, progress: Progress, calibration: dict[str, Any] | None = None,
) -> None:
    """Start the engine of `step`, measure and store the windows whose subjects are in `keys`, and end the engine.

    transformers, which is no server, times its own batches instead. Raises `EngineError` when the engine does not
    start, dies or does not answer.
    """
    settings = plan.experiment.engine
    if settings.kind == "transformers":
        measure_batches(plan, step, keys, artifacts, store, progress)
        return
    load = plan.experiment.load
    assert load is not None
    artifact = artifacts[step.variant]
    log = store.logs / f"{step.entry}-block{step.block + 1}.log"
    engine = engine_of(
        plan.experiment, step.entry, step.variant, artifact,
        slots=max(point.concurrency or OPEN_SLOTS for point in step.points),
        tokens=max(longest_request(point.workload) for point in step.points),
        log=log,
    )
    # One vocabulary for all variants: the prompts must be the same.
    textual = isinstance(settings, OpenAIEngine) and settings.tokenizer is None
    vocabulary = None if textual else vocabulary_size(artifacts[plan.baseline])

    guidellm = guidellm_of(plan.experiment, artifacts[plan.baseline]) if load.with_ == "guidellm" else None

    clocks = Clocks()

    def check() -> None:
        progress.pulse()
        engine.check()
        clocks.look()

    progress.step(step.entry, "starting", 0, 1, step.block)
    # Before the engine: what is in the GPUs' memory now is not the engine's.
    with GpuMemory(progress.note), GpuSampler() as gpus, engine:
        started_at = time.time()
        if engine.ready_s is not None:
            progress.started(step.entry, engine.ready_s)
        check_loaded(step.entry, artifact, engine.describe())
        sending = Sending(limits=Limits(request_timeout_s=load.request_timeout_s), scratch=store.work)
        if isinstance(settings, OpenAIEngine):
            abilities = asked_of(settings, engine.endpoint, ids=vocabulary is not None)
            for line in abilities.notes if step.block == 0 else ():
                progress.note(f"{step.entry}: {line}")
            sending = sending_to(settings, abilities, sending.limits, store.work)
        for point in step.points:
            if point.subject not in keys:
                continue
            progress.step(step.entry, point.subject, 0, 1, step.block)
            began = time.monotonic()
            for _ in range(TRIES):
                clocks = Clocks()
                before = engine.counters()
                seed = window_seed(plan.experiment.seed, point.subject, step.block)
                if guidellm is not None:
                    found = measure_with_guidellm(
                        guidellm, engine.endpoint, point.workload,
                        concurrency=point.concurrency, rate=point.rate, arrival=load.arrival,
                        requests=requests_of(load, point), warmup_requests=load.warmup_requests, seed=seed,
                        request_timeout_s=load.request_timeout_s, slo=load.slo, scratch=store.work,
                        log=log.with_name(f"{log.stem}-guidellm.log"), check=check,
                    )
                else:
                    found = measure(
                        engine.endpoint, point.workload,
                        concurrency=point.concurrency, rate=point.rate, arrival=load.arrival,
                        requests=requests_of(load, point),
                        warmup_requests=load.warmup_requests,
                        seed=seed,
                        vocab_size=vocabulary,
                        slo=load.slo,
                        calibration=calibration,
                        sending=sending,
                        check=check,
                    )
                after = engine.counters()
                if not found.summary["client"]["limited"]:
                    break
            seconds = time.monotonic() - began
            if found.summary["problem"] or not found.summary["outcomes"].get("ok"):
                raise EngineError(
                    f"{step.entry}, {point.subject}: of {found.summary['requests']} requests "
                    f"{found.summary['outcomes'].get('ok', 0)} were answered ({_fault(found.summary)}); see {log}"
                )
            window = found.summary["window"]
            pid = engine.pid
            own = set() if pid is None else {pid, *(member.pid for member in process_tree(pid))}
            gpu = gpus.record(window["begin_ns"], window["end_ns"], own) if own else {}
            tokens = found.summary["metrics"].get("output_throughput", 0.0) * window["length_s"]
            if tokens > 0 and gpu.get("energy_j") is not None:
                found.summary["metrics"]["joules_per_token"] = gpu["energy_j"] / tokens
            facts = dict(engine.describe())
            if before is not None and after is not None:
                server = server_record(before, after, found.tables["requests"],
                                       prefix_caching=facts.get("prefix_caching", facts.get("prompt_cache")))
                found.summary["server"] = server
                counts = found.summary["token_counts"]
                if counts["prompt_cached"] is None:  # the answers do not tell
                    counts["prompt_cached"] = cached_tokens(server, found.summary["prompt_tokens"])
            store.write(keys[point.subject], {
                "started_at": started_at,
                "duration_s": seconds,
                "artifact_sha256": artifact.sha256,
                "telemetry": {**clocks.record(), **({"gpu": gpu} if gpu else {})},
                "result": {**found.summary, "engine": facts, "ready_s": engine.ready_s,
                           "memory": {} if pid is None else {
                               **process_memory(pid), "weights_bytes": artifact.recipe.get("bytes"),
                               "kv_cache_bytes": facts.get("kv_cache_bytes")}},
            }, found.tables)
            progress.finished(step.entry, point.subject, step.block, seconds)


def limited_by_client(cell: Cell) -> bool:
    """Whether a load cell shows the client instead of the engine: then it is worth another try."""
    return bool(cell.record["result"].get("client", {}).get("limited"))


def _fault(summary: Mapping[str, Any]) -> str:
    first = summary.get("faults") or [summary.get("problem") or "no answer"]
    return str(first[0])
