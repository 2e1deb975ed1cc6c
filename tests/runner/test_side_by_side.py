"""A run with continuations and kept distributions, to its stored cells and its summary."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf.constants import GGMLQuantizationType as Kind

from quantcheck import Experiment
from quantcheck.runner.plan import make_plan
from quantcheck.runner.run import run
from quantcheck.store import Store
from tests.ggml.tiny import TinyShape, write_tiny

TEXT = "A few words to score, and some more of them. " * 8


def experiment(folder: Path, **quality: Any) -> Experiment:
    for name, kind in (("a", Kind.F32), ("b", Kind.Q4_0)):
        if not (folder / f"{name}.gguf").exists():
            write_tiny(folder / f"{name}.gguf", TinyShape(), kind=kind)
    (folder / "short.txt").write_text(TEXT)
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in
                                                  ("Once upon", "A few words", "And so it", "The end of")))
    return Experiment.model_validate({
        "name": "exp", "model": str(folder / "a.gguf"), "baseline": "a",
        "engine": {"kind": "llama.cpp", "scoring_threads": 1},
        "variants": {name: {"checkpoint": str(folder / f"{name}.gguf"), "scheme": f"gguf/{kind}"}
                     for name, kind in (("a", "F32"), ("b", "Q4_0"))},
        "quality": {
            "texts": {"short": {"text": str(folder / "short.txt"), "tokens": None}}, "context": 64, "stride": 32,
            "continuations": {"prompts": str(folder / "prompts.jsonl"), "max_tokens": 12}, **quality,
        },
    })  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("side")


def test_continuations_are_cells_and_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTCHECK_CACHE", str(folder / "cache"))
    outcome = run(experiment(folder, divergence="top-k"), out=folder / "out")
    assert outcome.measured == 6
    cells = {(cell.key.variant, cell.key.subject): cell for cell in Store(folder / "out").cells()}
    for entry in ("a", "a@again", "b"):
        cell = cells[entry, "continuations"]
        table = cell.table("items")
        assert table["prompt"].tolist() == ["Once upon", "A few words", "And so it", "The end of"]
        lengths = [len(text.split()) for text in table["tokens"].tolist()]
        assert max(lengths) <= 12
        assert cell.record["result"]["tokens"] == sum(lengths)
    summary = outcome.summary
    row = summary.continuations[0]
    same = np.mean([ours == theirs for ours, theirs in zip(
        *(cells[entry, "continuations"].table("items")["tokens"].tolist() for entry in ("a", "b")), strict=True)])
    assert (row.variant, row.prompts, row.agreement.value) == ("b", 4, same)
    assert row.noise.value is not None
    assert len(summary.most_changed) == round(4 * (1 - same))
    # 272 tokens in the vocabulary: all but 16 of them are kept.
    corpus = next(row for row in summary.corpora if row.variant == "b")
    assert corpus.kl_top == 256
    assert corpus.kl_gap == pytest.approx(0, abs=0.01)
    assert corpus.kl_gap_tokens == corpus.tokens
    assert summary.worst_tokens[0].kl_divergence >= (corpus.kl_divergence.value or 0)
    assert {row.by for row in summary.damage} >= {"position", "confidence", "worst document"}
    # Rounding alone is what the twin shows, and it is not nothing for KL either.
    twin = next(row for row in summary.noise_floor if row.kind == "perplexity")
    assert twin.kl_divergence is not None
    assert twin.kl_divergence.value is not None


def test_only_what_changed_is_measured_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTCHECK_CACHE", str(folder / "cache"))
    assert run(experiment(folder, divergence="top-k"), out=folder / "out").measured == 0
    longer = experiment(folder, divergence="top-k",
                        continuations={"prompts": str(folder / "prompts.jsonl"), "max_tokens": 13})
    assert run(longer, out=folder / "out").measured == 3
    full = run(experiment(folder, divergence="full"), out=folder / "out")
    assert full.measured == 3
    assert all(row.kl_top is None for row in full.summary.corpora)


def test_continuations_never_end_early_and_count_as_no_task(folder: Path) -> None:
    early = experiment(folder, stop="early")
    plan = make_plan(early)
    assert [task.subject for task in plan.tasks()] == ["short", "continuations"] * 3
    assert plan.stops_early("b")
