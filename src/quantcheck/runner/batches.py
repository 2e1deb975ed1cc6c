"""The load cells of transformers, which is no server: batches that it times itself, in one worker a block."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.folder_tokenizer import FolderTokenizer
from quantcheck.engines.hf.process import Worker
from quantcheck.errors import SpecError
from quantcheck.load.batches import Batch, summarize_batches
from quantcheck.load.prompts import PromptSource, read_prompts, window_seed
from quantcheck.runner.artifacts import vocabulary_size
from quantcheck.runner.loading import loaded_of
from quantcheck.runner.plan import LoadStep, Plan, requests_of
from quantcheck.runner.progress import Progress
from quantcheck.spec.experiment import TransformersEngine
from quantcheck.spec.load import Point
from quantcheck.store import CellKey, Store
from quantcheck.telemetry.clocks import Clocks
from quantcheck.telemetry.gpu_memory import GpuMemory
from quantcheck.telemetry.memory import process_memory, process_tree
from quantcheck.telemetry.nvml import GpuSampler
from quantcheck.variants.artifact import Artifact

__all__ = ["measure_batches"]

_VALUE_BYTES = {"float32": 4.0}


def measure_batches(
    plan: Plan, step: LoadStep, keys: Mapping[str, CellKey], artifacts: Mapping[str, Artifact],
    store: Store, progress: Progress,
) -> None:
    """Load the variant of `step`, time the batches whose subjects are in `keys`, store them, and end the worker.

    A load's concurrency is the batch size; `warmup_requests` whole batches go before. Raises what the worker raises,
    `SpecError` for prompts that do not fit.
    """
    load, engine = plan.experiment.load, plan.experiment.engine
    assert load is not None
    assert isinstance(engine, TransformersEngine)
    artifact = artifacts[step.variant]
    log = store.logs / f"{step.entry}-block{step.block + 1}.log"
    clocks = Clocks()

    def check() -> None:
        progress.pulse()
        clocks.look()

    worker = Worker(loaded_of(plan.experiment, artifact), name=step.entry, log=log, check=check, timed=True)
    progress.step(step.entry, "starting", 0, 1, step.block)
    # Before the worker: what is in the GPUs' memory now is not its own.
    with GpuMemory(progress.note), GpuSampler() as gpus, worker:
        started_at = time.time()
        progress.started(step.entry, worker.ready_s)
        # `weights_bytes`: what the GPU's memory rows take for the weights.
        facts = {**worker.facts, "cache": engine.cache, "ready_s": worker.ready_s,
                 "weights_bytes": worker.facts["model_bytes"],
                 "kv_bytes_per_value": _VALUE_BYTES.get(worker.facts["dtype"], 2.0)}
        for point in step.points:
            if point.subject not in keys:
                continue
            began, clocks = time.monotonic(), Clocks()
            asked, warm = _prompts(plan, step, point, artifacts[plan.baseline])
            _check_room(point, asked, worker.facts["context"], step.entry)
            for batch in warm:
                _time(worker, point, engine.cache, batch)
            timed: list[Batch] = []
            clock = ""
            for batch in asked:
                progress.step(step.entry, point.subject, len(timed), len(asked), step.block)
                done, clock = _time(worker, point, engine.cache, batch)
                timed.append(done)
            result, tables = summarize_batches(timed, clock)
            own = {worker.pid, *(member.pid for member in process_tree(worker.pid))}
            gpu = gpus.record(result["window"]["begin_ns"], result["window"]["end_ns"], own)
            if gpu.get("energy_j") is not None:
                result["metrics"]["joules_per_token"] = gpu["energy_j"] / result["output_tokens"]
            seconds = time.monotonic() - began
            store.write(keys[point.subject], {
                "started_at": started_at,
                "duration_s": seconds,
                "artifact_sha256": artifact.sha256,
                "telemetry": {**clocks.record(), **({"gpu": gpu} if gpu else {})},
                "result": {**result, "engine": facts, "ready_s": worker.ready_s,
                           "memory": {**process_memory(worker.pid), "weights_bytes": artifact.recipe.get("bytes"),
                                      "kv_cache_bytes": result["kv_bytes"], "allocated_bytes": facts["model_bytes"],
                                      "peak_bytes": result["peak_bytes"]}},
            }, tables)
            progress.finished(step.entry, point.subject, step.block, seconds)


Prompts = list[NDArray[np.int32]]


def _prompts(plan: Plan, step: LoadStep, point: Point, baseline: Artifact) -> tuple[list[Prompts], list[Prompts]]:
    """Measured batches and those for warming up, the same for all variants; synthetic ones as a client would send them.
    """
    load, size = plan.experiment.load, point.concurrency
    assert load is not None
    assert size is not None
    measured = -(-requests_of(load, point) // size)
    count = size * (measured + load.warmup_requests)
    seed = window_seed(plan.experiment.seed, point.subject, step.block)
    if point.workload.prompts is not None:
        drawn = _users(point.workload.prompts, count, seed, baseline.path)
    else:
        length = point.workload.prompt_tokens
        assert isinstance(length, int)
        source = PromptSource(seed, vocabulary_size(baseline), shared_prefix=point.workload.shared_prefix)
        drawn = [source.draw(length) for _ in range(count)]
    batches = [drawn[start : start + size] for start in range(0, count, size)]
    return batches[:measured], batches[measured:]


def _users(file: str, count: int, seed: int, folder: Path) -> Prompts:
    """The user's own prompts, in a seeded order, as the baseline's tokenizer cuts them."""
    lines = read_prompts(Path(file))
    if count > len(lines):
        raise SpecError(f"prompts {file}: {len(lines)} prompts, and {count} are needed, each once (measured, warm-up); "
                        "add some, or take fewer requests")
    for line in lines:
        if not isinstance(line.prompt, str):
            raise SpecError(f"prompts {file}: `messages` need a chat endpoint, which the transformers engine has not; "
                            "give `prompt`, with the template in it")
        if line.output_tokens is not None:
            raise SpecError(f"prompts {file}: `output_tokens` of its own has no place in a batch; leave it out")
    tokenizer = FolderTokenizer(folder)
    order = np.random.default_rng(window_seed(seed, "order of prompts")).permutation(len(lines))
    return [tokenizer.encode(str(lines[place].prompt), bos=True).astype(np.int32) for place in order[:count]]


def _check_room(point: Point, batches: list[Prompts], most: int | None, entry: str) -> None:
    output = point.workload.output_tokens
    assert isinstance(output, int)
    longest = max(len(prompt) for batch in batches for prompt in batch) + output
    if most is not None and longest > most:
        raise SpecError(f"load.workloads.{point.name}: {longest} tokens for the longest prompt with its answer, and "
                        f"{entry} holds {most}; shorten the workload")


def _time(worker: Worker, point: Point, cache: str, prompts: Prompts) -> tuple[Batch, str]:
    told, found = worker.ask("time", {"output_tokens": point.workload.output_tokens, "cache": cache}, {
        "ids": np.concatenate(prompts), "lengths": np.array([len(prompt) for prompt in prompts], np.int64)})
    return Batch(prompts, told["began_ns"], found["stamps_ns"], told["kv_bytes"], told["peak_bytes"]), told["clock"]

