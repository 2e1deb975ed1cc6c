"""Made-up cells with known truth, for the report's tests.

`numpy.random.RandomState` on purpose: its streams are frozen, so the goldens do not move with numpy.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantcheck.spec.experiment import Experiment

TASKS = {
    "reference/arithmetic": 0.93,
    "reference/expressions": 0.86,
    "reference/knowledge": 0.9,
    "reference/format": 0.95,
}
CORPORA = {"reference/documentation": 3.1, "reference/stories": 1.6}
LOADS = {"short@c1": 300.0, "short@c8": 1900.0}
BLOCKS = 5
ITEMS = 1500

# Truth by variant: bytes, bits per weight, speed-up, P(lost), P(gained) by task, nats per token added.
TRUTH: dict[str, dict[str, Any]] = {
    "F16": {"bytes": 15_400_000, "bits": 16.01, "speed": 1.0, "lost": 0.0, "gained": 0.0, "nll": 0.0},
    "Q8_0": {"bytes": 8_210_000, "bits": 8.5, "speed": 1.31, "lost": 0.001, "gained": 0.001, "nll": 0.0004},
    "Q4_K_M": {"bytes": 5_300_000, "bits": 5.1, "speed": 1.42, "lost": 0.004, "gained": 0.003, "nll": 0.006},
    "Q2_K": {"bytes": 3_120_000, "bits": 3.1, "speed": 1.38, "lost": 0.14, "gained": 0.02, "nll": 0.21},
}
AGAIN = "F16@again"


@dataclass
class FakeCell:
    record: dict[str, Any]
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    def table(self, name: str) -> Mapping[str, Any]:
        return self.tables[name]


def random(*parts: object) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32("/".join(map(str, parts)).encode()))


def experiment(**changes: Any) -> Experiment:
    given: dict[str, Any] = {
        "name": "reference",
        "model": "reference",
        "baseline": "F16",
        "variants": {name: {"scheme": f"gguf/{name}"} for name in TRUTH},
        "load": {"workloads": {"short": {"prompt_tokens": 32, "output_tokens": 32}}, "concurrency": [1, 8]},
        "quality": {"suites": [*TASKS, *CORPORA]},
        "blocks": BLOCKS,
    }
    return Experiment.model_validate({**given, **changes})


def key(kind: str, variant: str, subject: str, block: int = 0) -> dict[str, Any]:
    return {"kind": kind, "variant": variant, "subject": subject, "block": block, "digest": "d" * 64}


def load_cell(variant: str, load: str, block: int, *, requests: int = 40, failed: int = 0) -> FakeCell:
    truth = TRUTH[variant.removesuffix("@again")]
    streams = int(load.rpartition("c")[2])
    rng = random("load", variant, load, block)
    # The block's own effect is shared by its loads, as one engine start serves them all.
    shared = random("block", variant, block).normal(0, 0.02)
    speed = truth["speed"] * float(np.exp(shared + rng.normal(0, 0.005)))
    tokens = 32
    itl = streams / (LOADS[load] * speed)
    ttft = 0.02 * streams**0.7 / speed * rng.lognormal(0, 0.3, requests)
    sent = np.linspace(0, 4, requests)
    first = sent + ttft
    last = first + (tokens - 1) * itl * rng.lognormal(0, 0.05, requests)
    outcome = np.array(["timeout"] * failed + ["ok"] * (requests - failed))
    ok = outcome == "ok"
    metrics = {
        "output_throughput": LOADS[load] * speed,
        "request_throughput": LOADS[load] * speed / tokens,
        "ttft": float(np.median((first - sent)[ok])),
        "tpot": float(np.median((last - first)[ok])) / (tokens - 1),
        "itl": itl,
        "e2e": float(np.median((last - sent)[ok])),
    }
    result = {
        "requests": requests,
        "outcomes": {"ok": requests - failed, **({"timeout": failed} if failed else {})},
        "metrics": metrics,
        "engine": {"version": "fake 1", "threads": 1},
        "memory": {
            "rss_bytes": truth["bytes"] + 90e6 + 1e4 * block,
            "pss_bytes": truth["bytes"] + 70e6,
            "kv_cache_bytes": 4.2e6,
            "weights_bytes": truth["bytes"],
        },
        "ready_s": 0.21 + 0.01 * block,
    }
    table = {
        "request": np.arange(requests), "stream": np.arange(requests) % streams,
        "prompt_tokens": np.full(requests, 32), "output_tokens": np.full(requests, tokens),
        "sent_s": sent, "first_s": first, "last_s": last, "outcome": outcome,
    }  # fmt: skip
    return FakeCell({"schema": 1, "key": key("load", variant, load, block), "result": result}, {"requests": table})


def task_cell(variant: str, task: str, *, items: int = ITEMS) -> FakeCell:
    truth = TRUTH[variant.removesuffix("@again")]
    base = random("task", task).uniform(size=items) < TASKS[task]
    rng = random("flips", variant, task).uniform(size=items)
    # Two of the four skills suffer more than the others.
    weight = 1.2 if task.endswith(("arithmetic", "format")) else 0.1 if variant == "Q2_K" else 0.8
    right = np.where(base, rng >= truth["lost"] * weight / TASKS[task], rng < truth["gained"] / (1 - TASKS[task]))
    ids = np.array([f"{task}/{i}" for i in range(items)])
    result = {"kind": "task", "n": items, "accuracy": float(right.mean()), "suite_sha256": "5" * 64}
    table = {"id": ids, "group": np.full(items, ""), "right": right, "output": np.full(items, "x")}
    return FakeCell({"schema": 1, "key": key("quality", variant, task), "result": result}, {"items": table})


def corpus_cell(variant: str, corpus: str, *, documents: int = 40) -> FakeCell:
    truth, baseline = TRUTH[variant.removesuffix("@again")], variant.removesuffix("@again") == "F16"
    shared = random("corpus", corpus)
    lengths = shared.randint(60, 400, documents)
    document = np.repeat(np.arange(documents, dtype=np.int32), lengths)
    topic = np.repeat(shared.normal(0, 0.3, documents), lengths)
    nll = np.abs(np.log(CORPORA[corpus] * 4) + topic + shared.normal(0, 0.8, len(document)))
    rng = random("damage", variant, corpus)
    if not baseline:
        nll = nll + truth["nll"] + rng.normal(0, 0.3 * truth["nll"] ** 0.5, len(nll))
    # Of its own stream: what the others draw stays as it is.
    confidence = random("confidence", variant, corpus).beta(2, 1, len(document)).astype(np.float32)
    table: dict[str, Any] = {"document": document, "nll": nll, "confidence": confidence}
    if variant != "F16":
        kl = 0.0 if baseline else truth["nll"] * rng.lognormal(-0.5, 1.0, len(nll))
        table["kl"] = np.zeros(len(nll)) + kl
        table["top1"] = rng.uniform(size=len(nll)) >= truth["nll"] ** 0.5 * 0.5
    result = {
        "kind": "perplexity", "tokens": len(nll), "documents": documents, "context": 512, "stride": 256,
        "nll_mean": float(nll.mean()), "perplexity": float(np.exp(nll.mean())), "tokens_sha256": "a" * 64,
    }  # fmt: skip
    if not baseline:
        result["worst_tokens"] = worst_tokens(table)
    return FakeCell({"schema": 1, "key": key("quality", variant, corpus), "result": result}, {"tokens": table})


def worst_tokens(table: Mapping[str, Any], most: int = 3) -> list[dict[str, Any]]:
    """The largest divergences, with texts that Markdown would not show as themselves."""
    return [
        {
            "document": int(table["document"][at]), "position": rank, "kl_divergence": float(table["kl"][at]),
            "before": "a | b *and*\n ", "token": " c", "baseline_p": 0.5, "variant_p": None,
            "baseline_likeliest": " c", "baseline_likeliest_p": 0.5, "variant_likeliest": "\n",
            "variant_likeliest_p": 0.25,
        }
        for rank, at in enumerate(np.argsort(-table["kl"], kind="stable")[:most], 5)
    ]  # fmt: skip


def continuation_cell(variant: str, *, prompts: int = 40, tokens: int = 24) -> FakeCell:
    """Every token is another one than the baseline's with a chance that grows with the damage."""
    truth, rng = TRUTH[variant.removesuffix("@again")], random("continuations", variant)
    base = [random("continued", at).randint(0, 50, tokens) for at in range(prompts)]
    written = [np.where(rng.uniform(size=tokens) < truth["nll"] / 4, 50 + rng.randint(0, 50, tokens), ids)
               for ids in base]
    table = {
        "id": np.array([f"stories/{at}" for at in range(prompts)]),
        "prompt": np.array([f"Prompt {at} began" for at in range(prompts)]),
        "output": np.array(["".join(f" w{token}" for token in ids) for ids in written]),
        "tokens": np.array([" ".join(map(str, ids)) for ids in written]),
    }
    result = {"kind": "continuations", "n": prompts, "max_tokens": tokens, "suite_sha256": "c" * 64}
    return FakeCell({"schema": 1, "key": key("quality", variant, "continuations"), "result": result},
                    {"items": table})


def cells(blocks: int = BLOCKS, *, load: bool = True, quality: bool = True) -> list[FakeCell]:
    found: list[FakeCell] = []
    for variant in [*TRUTH, AGAIN]:
        if quality:
            found += [task_cell(variant, task) for task in TASKS]
            found += [corpus_cell(variant, corpus) for corpus in CORPORA]
        if load:
            found += [load_cell(variant, name, block) for block in range(blocks) for name in LOADS]
    return found


GPU_BYTES = 80_000_000_000
KV_CACHE_TOKENS = 400_000


def gpu_record(variant: str, load: str, block: int, tokens: float, gpus: int = 1) -> dict[str, Any]:
    """As `telemetry.nvml` writes it: 0.05 J a token and 300 W at F16, less as the weights shrink; nobody else."""
    truth = TRUTH[variant.removesuffix("@again")]
    share = 0.5 + 0.5 * truth["bits"] / TRUTH["F16"]["bits"]
    joules = 0.05 * share * float(np.exp(random("energy", variant, load, block).normal(0, 0.01)))
    used = 72_500_000_000 + 1_000_000 * block
    one: dict[str, Any] = {
        "uuid": "GPU-1", "name": "Imaginary GPU", "looks": 40, "energy_j": joules * tokens / gpus,
        **{what: {"low": 0.9 * median, "median": median, "high": 1.1 * median} for what, median in (
            ("power_w", 300.0 * share), ("sm_mhz", 1_900.0), ("memory_mhz", 2_600.0), ("temperature_c", 55.0 + block))},
        "throttle": {"applications clocks": 1.0},
        "memory_used_bytes": used, "memory_free_bytes": GPU_BYTES - used, "memory_total_bytes": GPU_BYTES,
        "own_processes": 1, "own_bytes": used - 500_000_000, "foreign_processes": 0, "foreign_bytes": 0, "missing": {},
    }  # fmt: skip
    sums = {key: gpus * one[key] for key in ("energy_j", "memory_used_bytes", "memory_free_bytes",
                                             "memory_total_bytes", "own_bytes", "foreign_processes", "foreign_bytes")}
    return {**sums, "gpus": [{"index": at, **one} for at in range(gpus)], "missing": {}}


def on_gpu(cells: list[FakeCell], gpus: int = 1) -> list[FakeCell]:
    """The same load cells, measured on GPUs by an engine that says what it reserved on each (a rank's share)."""
    for cell in cells:
        where, result = cell.record["key"], cell.record["result"]
        if where["kind"] != "load":
            continue
        tokens = 4.0 * result["metrics"]["output_throughput"]
        gpu = gpu_record(where["variant"], where["subject"], where["block"], tokens, gpus)
        weights = 1_000 * TRUTH[where["variant"].removesuffix("@again")]["bytes"] // gpus
        cell.record["telemetry"] = {"gpu": gpu}
        result["metrics"]["joules_per_token"] = gpu["energy_j"] / tokens
        result["engine"] |= {"weights_bytes": weights, "kv_cache_bytes": 69_000_000_000 - weights,
                             "kv_cache_tokens": KV_CACHE_TOKENS}
        cell.tables["requests"]["end_s"] = cell.tables["requests"]["last_s"]
    return cells


def artifacts() -> dict[str, dict[str, Any]]:
    return {
        name: {
            "scheme": f"gguf/{name}",
            "bytes": t["bytes"],
            "bits_per_weight": t["bits"],
            "sha256": name[0].lower() * 64,
            "source_sha256": "5" * 64,
            "tools": {"quantcheck": "0.1.0"},
        }
        for name, t in TRUTH.items()
    }


ENVIRONMENT = {
    "cpu": "Imaginary CPU 9000",
    "cpu_flags": ["avx2", "fma", "f16c"],
    "cores": 2,
    "ram_bytes": 8_000_000_000,
    "virtual": None,
    "gpus": [],
    "os": "Debian GNU/Linux 12",
    "kernel": "6.1",
    "python": "3.11.2",
    "packages": {"quantcheck": "0.1.0", "xllamacpp": "2026.10.11549"},
}
