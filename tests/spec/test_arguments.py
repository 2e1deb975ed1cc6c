"""Engine options that differ beyond the format are told, those that are the format are not."""

from typing import Any

import pytest

from quantcheck import Experiment, presets
from quantcheck.spec.arguments import unlike_arguments


def experiment(a: dict[str, Any], b: dict[str, Any], **shared: Any) -> Experiment:
    return Experiment.model_validate({
        "name": "x", "model": "shape:mistral-7b", "weights": "random", "baseline": "a",
        "variants": {"a": {"scheme": "fp16", "args": a}, "b": {"scheme": "awq", "args": b}},
        "engine": {"kind": "vllm", "args": shared},
        "load": {"workloads": {"s": {"prompt_tokens": 8, "output_tokens": 8}}}})


@pytest.mark.parametrize(("a", "b", "told"), [
    ({}, {}, None),
    ({}, {"max-num-seqs": 64}, "max-num-seqs 64 (a: 256)"),
    ({"max-num-seqs": 64}, {"max-num-seqs": 64}, None),
    ({"max-num-seqs": 64}, {}, "max-num-seqs 256 (a: 64)"),
    ({}, {"max-num-seqs": None}, "max-num-seqs the default (a: 256)"),
    ({"tensor-parallel-size": 2}, {}, "tensor-parallel-size the default (a: 2)"),
    ({"dtype": "float16"}, {"quantization": "awq", "kv-cache-dtype": "fp8"}, None),
    ({}, {"enforce-eager": True, "gpu-memory-utilization": 0.5},
     "enforce-eager True (a: the default), gpu-memory-utilization 0.5 (a: the default)"),
])
def test_options(a: dict[str, Any], b: dict[str, Any], told: str | None) -> None:
    chosen = experiment(a, b, **{"max-num-seqs": 256})
    assert unlike_arguments(chosen) == ({} if told is None else {"b": told})


def test_presets_compare_like_with_like() -> None:
    unlike = {name for name in presets.names() if unlike_arguments(presets.load(name))}
    assert unlike == {"70b-one-gpu-or-two"}, "FP16 on two GPUs is that preset's question"
