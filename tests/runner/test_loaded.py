"""A weightless variant that an engine loads in another format is refused, and measured no more."""

from pathlib import Path
from typing import Any

import pytest

from quantcheck.errors import EngineError
from quantcheck.runner.artifacts import artifacts_of
from quantcheck.runner.loaded import check_loaded
from quantcheck.runner.plan import LoadStep, make_plan
from quantcheck.runner.progress import Silent
from quantcheck.runner.speed import measure_block
from quantcheck.spec.experiment import Experiment
from quantcheck.store import Store
from quantcheck.variants.artifact import Artifact
from tests.engines.test_vllm import interpreter

GIB = 1 << 30


def weightless(size: float = 4.163e9, **recipe: Any) -> Artifact:
    return Artifact("gptq", Path(), {"weights": "random", "scheme": "gptq", "bytes": size, **recipe})


@pytest.mark.parametrize(("artifact", "facts"), [
    (weightless(), {"weights_bytes": round(3.88 * GIB)}),
    (weightless(4.245e9), {"weights_bytes": round(3.99 * GIB)}),  # vLLM 0.25.1, AWQ under Machete on an H200
    (weightless(), {}),
    (weightless(14e6), {"weights_bytes": round(0.02 * GIB)}),  # a log's 0.02 is anything from 0.015 on
    (weightless(), {"weights_bytes": round(2.0 * GIB), "tensor_parallel": 2}),
    (weightless(14.5e9), {"weights_bytes": round(27.0 * GIB), "dtype": "float32"}),
    (weightless(weights=None), {"weights_bytes": round(13.51 * GIB)}),  # real files are what they are
])
def test_what_an_engine_may_hold(artifact: Artifact, facts: dict[str, Any]) -> None:
    check_loaded("gptq", artifact, facts)


@pytest.mark.parametrize("facts", [
    {"weights_bytes": round(13.51 * GIB)},  # vLLM 0.25.1, GPTQ whose configuration did not name its layers
    {"weights_bytes": round(6.76 * GIB), "tensor_parallel": 2},
])
def test_another_format_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match=r"gptq: the engine holds 14.5 GB of weights where gptq takes 4.16 GB: .*"
                                          r"`checkpoint:`"):
        check_loaded("gptq", weightless(), facts)


def test_it_is_seen_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    experiment = Experiment.model_validate({
        "name": "x", "model": "shape:mistral-7b", "weights": "random", "baseline": "fp16",
        "variants": {"fp16": {"scheme": "fp16"}, "gptq": {"scheme": "gptq"}},
        "engine": {"kind": "vllm", "python": str(interpreter(tmp_path))},  # says 13.51 GiB of whatever it is to serve
        "load": {"workloads": {"s": {"prompt_tokens": 16, "output_tokens": 8}}}, "blocks": 1, "noise_floor": False,
    })
    plan, (artifacts, failed) = make_plan(experiment), artifacts_of(experiment, Silent())
    store = Store(tmp_path / "out")
    store.lock()
    step = next(step for step in plan.steps if isinstance(step, LoadStep) and step.entry == "gptq")
    keys = {subject: key for one, subject, key in plan.keys(artifacts) if one is step}
    assert (failed, len(keys)) == ({}, len(step.points))
    with pytest.raises(EngineError, match="it did not load this format"):
        measure_block(plan, step, keys, artifacts, store, Silent(), None)
    assert list(store.cells()) == []
    store.unlock()
