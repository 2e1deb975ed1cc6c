"""Modules of two models change places within the worker: a mix gives the mix's figures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from quantcheck import reference
from quantcheck.engines.hf.process import Loaded
from quantcheck.engines.hf.scorer import TransformersScorer
from tests.conftest import needs_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DAMAGED = "model.layers.3.mlp.up_proj"


def with_noise(folder: Path, *modules: str) -> Path:
    """The reference model with noise on the weights of some modules."""
    shutil.copytree(reference.model_dir(), folder)
    weights = load_file(folder / "model.safetensors")
    for module in modules:
        weight = weights[f"{module}.weight"]
        noise = np.random.default_rng(len(module)).normal(0, 0.05, weight.shape)
        weights[f"{module}.weight"] = (weight + noise).astype(weight.dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_an_exchange_is_the_mixed_model_and_can_be_undone(tmp_path: Path) -> None:
    python = needs_environment("transformers")
    other = "model.layers.0.self_attn.q_proj"
    variant = with_noise(tmp_path / "variant", DAMAGED, other)
    mixed = with_noise(tmp_path / "mixed", DAMAGED)
    tokens = [np.arange(5, 45, dtype=np.int32)]

    def loaded(folder: Path) -> Loaded:
        return Loaded(python=python, folder=folder, dtype="float32", threads=1)

    with TransformersScorer(loaded(mixed), log=tmp_path / "mixed.log") as scorer:
        (wanted,) = scorer.logits(tokens)
    with TransformersScorer(loaded(reference.model_dir()), log=tmp_path / "base.log") as scorer:
        (before,) = scorer.logits(tokens)
        assert scorer.beside(loaded(variant)) == [other, DAMAGED]
        scorer.exchange([DAMAGED])
        (found,) = scorer.logits(tokens)
        scorer.exchange([DAMAGED])
        (after,) = scorer.logits(tokens)
    assert np.array_equal(found, wanted)
    assert np.array_equal(after, before)
    assert np.abs(found - before).max() > 1e-2
    assert json.loads((variant / "config.json").read_text())["num_hidden_layers"] > 3
