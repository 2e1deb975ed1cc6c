"""Formats as the transformers library loads them on a processor: which layers come of it, and how many bytes."""

import json
from pathlib import Path

import numpy as np
import pytest

from quantcheck import SpecError, reference
from quantcheck.engines.hf.process import Loaded, Worker
from quantcheck.variants.schemes import LOADED
from quantcheck.variants.weight_bytes import weight_bytes
from quantcheck.variants.weightless import write_weightless
from tests.conftest import needs_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("scheme", "layer"), [
    ("bnb-nf4", "Linear4bit"), ("torchao-int8", "Linear"), ("awq", "TorchAtenAwqLinear"), ("gptq", "TorchAtenLinear"),
])
def test_random_weights_of_a_format_take_the_bytes_that_were_predicted(
    tmp_path: Path, scheme: str, layer: str
) -> None:
    config = json.loads((reference.model_dir() / "config.json").read_text(encoding="utf-8"))
    write_weightless(tmp_path / "model", config, scheme)
    made = dict(LOADED[scheme]) if scheme in LOADED else None
    loaded = Loaded(python=needs_environment("transformers"), folder=tmp_path / "model", dtype="float16", device="cpu",
                    threads=1, random=True, quantization=made)
    with Worker(loaded, name=scheme, log=tmp_path / "log", timed=True) as worker:
        assert worker.facts["linear_layers"].get(layer, 0) >= 56
        written = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
        predicted = weight_bytes(written | ({"quantization_config": made} if made else {}))
        # Beside the rotary frequencies, GPTQ keeps an index of its groups.
        assert predicted <= worker.facts["model_bytes"] < 1.02 * predicted
        told, found = worker.ask("time", {"output_tokens": 3, "cache": "dynamic"}, {
            "ids": np.arange(5, 21, dtype=np.int32), "lengths": np.array([16])})
        assert found["tokens"].shape == (1, 3)
        assert told["kv_bytes"] == 2 * 8 * 4 * 32 * 2 * 18


def test_a_format_without_random_weights_is_refused(tmp_path: Path) -> None:
    config = json.loads((reference.model_dir() / "config.json").read_text(encoding="utf-8"))
    write_weightless(tmp_path / "model", config, "w4a16")
    loaded = Loaded(python=needs_environment("transformers"), folder=tmp_path / "model", device="cpu", random=True)
    with pytest.raises(SpecError, match="no random weights of format compressed-tensors"):
        Worker(loaded, name="w4a16", log=tmp_path / "log").start()
