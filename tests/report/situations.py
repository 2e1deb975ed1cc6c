"""The situations that the written reports must tell apart, each one summary of made-up cells."""

from functools import cache
from typing import Any

from quantcheck.report.summary import Summary
from quantcheck.report.view import build_summary
from tests.report import synthetic
from tests.report.synthetic import FakeCell


def of(cell: FakeCell, **where: Any) -> bool:
    return all(cell.record["key"][name] == value for name, value in where.items())


@cache
def all_measured() -> Summary:
    """Recipes, calibration, an SLO, a price: every part of the report has something to say."""
    recipes = synthetic.artifacts()
    recipes["Q4_K_M"] |= {
        "with": "quantcheck", "imatrix": {"data_sha256": "d" * 64, "tokens": 4096, "chunk_tokens": 512},
        "imatrix_tokens": 4096, "parameters": 7_344_384,
    }  # fmt: skip
    recipes["Q2_K"] |= {
        "with": "llm-compressor", "method": "gptq", "tools": {"llmcompressor": "0.14"},
        "calibration": {"dataset": "stories.jsonl", "data_sha256": "e" * 64, "samples": 48, "tokens": 12288,
                        "most_tokens": 256, "seed": 7},
    }  # fmt: skip
    experiment = synthetic.experiment(policy={"price": {"gpu_hour_usd": 2.0}, "slo": {"ttft_ms": 60, "share": 0.9}})
    environment = synthetic.ENVIRONMENT | {
        "gpus": [{"name": "Imaginary GPU", "memory": "80000 MiB", "driver": "580.1"}],
        "command": "quantcheck run reference.yaml",
    }
    cells = [*synthetic.on_gpu(synthetic.cells()),
             *(synthetic.continuation_cell(name) for name in synthetic.TRUTH)]
    return build_summary(experiment, cells, recipes, environment, [])


@cache
def random_weights() -> Summary:
    experiment = synthetic.experiment(model="shape:mistral-7b", weights="random", quality=None)
    recipes = {name: recipe | {"weights": "random"} for name, recipe in synthetic.artifacts().items()}
    return build_summary(experiment, synthetic.cells(quality=False), recipes, synthetic.ENVIRONMENT, [])


@cache
def failed_cells() -> Summary:
    """A variant without an engine, requests that timed out, and single cells that are not there."""
    kept = [cell for cell in synthetic.cells() if not of(cell, variant="Q4_K_M")
            and not of(cell, variant="Q2_K", subject="reference/format")
            and not of(cell, variant="Q8_0", subject="short@c8")]  # fmt: skip
    kept += [synthetic.load_cell("Q8_0", "short@c8", block, failed=6) for block in range(synthetic.BLOCKS - 1)]
    problems = [
        {"variant": "Q4_K_M", "reason": "engine never became healthy in 120 s"},
        {"variant": "Q2_K", "subject": "reference/format", "reason": "the scorer ran out of memory"},
        {"variant": "Q8_0", "subject": "short@c8", "block": synthetic.BLOCKS - 1, "reason": "invalid (client-limited)"},
    ]
    return build_summary(synthetic.experiment(), kept, synthetic.artifacts(), synthetic.ENVIRONMENT, problems)


@cache
def not_comparable() -> Summary:
    """Q8_0 was given other items, other tokens and other prompts than the baseline."""
    cells = synthetic.cells()
    for cell in cells:
        result = cell.record["result"]
        if cell.record["key"]["kind"] == "load":
            result["prompts_sha256"] = "1" * 64
        if cell.record["key"]["variant"] == "Q8_0":
            result |= dict.fromkeys([key for key in result if key.endswith("_sha256")], "f" * 64)
    return build_summary(synthetic.experiment(), cells, synthetic.artifacts(), synthetic.ENVIRONMENT, [])


@cache
def single_variant() -> Summary:
    """The baseline alone: nothing is compared."""
    cells = [cell for cell in synthetic.cells() if cell.record["key"]["variant"] in ("F16", synthetic.AGAIN)]
    experiment = synthetic.experiment(variants={"F16": {"scheme": "gguf/F16"}})
    recipes = {"F16": synthetic.artifacts()["F16"]}
    return build_summary(experiment, cells, recipes, synthetic.ENVIRONMENT, [])


SITUATIONS = {
    "all-measured": all_measured, "random-weights": random_weights, "failed-cells": failed_cells,
    "not-comparable": not_comparable, "single-variant": single_variant,
}  # fmt: skip
