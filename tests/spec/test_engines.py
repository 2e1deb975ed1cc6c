"""Engines that cannot do what is asked of them are refused before anything is started."""

from typing import Any

import pytest
from pydantic import ValidationError

from quantcheck.spec.experiment import Experiment, TransformersEngine


def experiment(engine: dict[str, Any], variant: dict[str, Any], **more: Any) -> Experiment:
    load = {"workloads": {"w": {"prompt_tokens": 8, "output_tokens": 4, **more.pop("workload", {})}},
            **more.pop("load", {})}
    return Experiment.model_validate({
        "name": "e", "model": "reference", "baseline": "a", "engine": engine, "load": load,
        "variants": {"a": {"scheme": "fp16"} if engine["kind"] != "llama.cpp" else {"scheme": "gguf/F16"},
                     "b": variant}, **more})


TRANSFORMERS = {"kind": "transformers"}


def test_what_the_library_makes_as_it_loads() -> None:
    found = experiment(TRANSFORMERS, {"scheme": "bnb-nf4"})
    assert isinstance(found.engine, TransformersEngine)
    assert [variant.maker for variant in found.variants.values()] == ["llm-compressor", "transformers"]
    assert experiment(TRANSFORMERS, {"checkpoint": "hub:a/b"}).variants["b"].maker == "quantcheck"


@pytest.mark.parametrize(("engine", "variant", "more", "message"), [
    ({"kind": "vllm"}, {"scheme": "bnb-int8"}, {}, "made by the transformers library as it loads"),
    ({"kind": "llama.cpp"}, {"scheme": "torchao-int8"}, {}, "the engine is llama.cpp"),
    (TRANSFORMERS, {"scheme": "gguf/Q8_0"}, {}, "transformers runs no GGUF files"),
    (TRANSFORMERS, {"scheme": "bnb-int8", "args": {"max-num-seqs": 4}}, {}, "options of vLLM"),
    (TRANSFORMERS, {"scheme": "bnb-int8", "checkpoint": "x"}, {}, "give one of them"),
    (TRANSFORMERS, {"scheme": "bnb-int8", "quantize": {"method": "gptq"}}, {}, "takes no settings"),
    (TRANSFORMERS, {"scheme": "fp8-dynamic", "quantize": {"with": "transformers"}}, {}, "leave `with:` out"),
    (TRANSFORMERS, {"scheme": "bnb-int8"}, {"load": {"rate": [2.0]}}, r"load\.rate: .* no server"),
    (TRANSFORMERS, {"scheme": "bnb-int8"}, {"load": {"slo": {"ttft_ms": 5}}}, "leave `slo:` out"),
    (TRANSFORMERS, {"scheme": "bnb-int8"}, {"workload": {"free": True}}, "leave `free:` out"),
    (TRANSFORMERS, {"scheme": "bnb-int8"}, {"workload": {"prompt_tokens": {"min": 2, "max": 5}}}, "one length"),
    ({**TRANSFORMERS, "device": "tpu"}, {"scheme": "bnb-int8"}, {}, "device"),
])
def test_what_cannot_be_is_refused(
    engine: dict[str, Any], variant: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        experiment(engine, variant, **more)


def test_a_trace_is_refused() -> None:
    with pytest.raises(ValidationError, match="replays no trace"):
        Experiment.model_validate({
            "name": "e", "model": "reference", "baseline": "a", "engine": TRANSFORMERS,
            "variants": {"a": {"scheme": "fp16"}}, "load": {"workloads": {"w": {"trace": "t.csv"}}}})
