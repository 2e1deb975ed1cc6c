"""Quality cells on tiny models: logits that were cleared, and a scoring process that dies."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from gguf.constants import GGMLQuantizationType as Kind

import quantcheck
from quantcheck import EngineError, Experiment
from quantcheck.runner.progress import Silent
from quantcheck.store import Cell, Store
from tests.ggml.tiny import TinyShape, write_tiny

SHORT = "A few words to score, and some more of them. " * 8
LONG = "".join(chr(97 + k * k % 26) for k in range(30_000))


class Heard(Silent):
    """Keeps what was said; `on_step` may act on it."""

    def __init__(self, on_step: Callable[[str, str, int, int], None] = lambda *_: None) -> None:
        self.notes: list[str] = []
        self.stored: list[tuple[str, str]] = []
        self._on_step = on_step

    def step(self, variant: str, subject: str, done: int, of: int, block: int | None = None) -> None:
        self._on_step(variant, subject, done, of)

    def finished(self, variant: str, subject: str, block: int | None, seconds: float) -> None:
        self.stored.append((variant, subject))

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Experiment]:
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    kinds = {"a": Kind.F32, "b": Kind.Q8_0, "c": Kind.Q4_0}
    for name, kind in kinds.items():
        write_tiny(tmp_path / f"{name}.gguf", TinyShape(), kind=kind)
    (tmp_path / "short.txt").write_text(SHORT)
    (tmp_path / "long.txt").write_text(LONG)

    def make(*variants: str, texts: tuple[str, ...] = ("short",)) -> Experiment:
        return Experiment.model_validate({
            "name": "exp", "model": str(tmp_path / "a.gguf"), "baseline": "a", "noise_floor": False,
            "engine": {"kind": "llama.cpp", "scoring_threads": 1},
            "variants": {name: {"checkpoint": str(tmp_path / f"{name}.gguf"), "scheme": f"gguf/{kinds[name].name}"}
                         for name in variants},
            "quality": {"texts": {name: {"text": str(tmp_path / f"{name}.txt"), "tokens": None} for name in texts},
                        "context": 64, "stride": 32},
        })

    return make


def cells(out: Path) -> dict[tuple[str, str], Cell]:
    return {(cell.key.variant, cell.key.subject): cell for cell in Store(out).cells()}


def kill_scoring_of(entry: str) -> None:
    """SIGKILL to the scoring process of `entry`, found among this process's children."""
    found = [child for child in psutil.Process().children(recursive=True)
             if child.status() != psutil.STATUS_ZOMBIE and child.cmdline()[-1].endswith(f"score-{entry}")]
    assert len(found) == 1
    os.kill(found[0].pid, signal.SIGKILL)


def nothing_runs() -> bool:
    return not any(child.status() != psutil.STATUS_ZOMBIE and "quantcheck.quality.job" in child.cmdline()
                   for child in psutil.Process().children(recursive=True))


def test_cleared_logits_are_made_again_for_a_further_variant(
    tmp_path: Path, experiment: Callable[..., Experiment]
) -> None:
    out = tmp_path / "out"
    assert quantcheck.run(experiment("a", "b"), out).measured == 2
    assert not (out / "work").exists()
    before = {name: (cell.folder / "cell.json").stat().st_mtime_ns for name, cell in cells(out).items()}

    heard = Heard()
    outcome = quantcheck.run(experiment("a", "b", "c"), out, heard)
    assert outcome.measured == 1
    assert heard.stored == [("c", "short")]
    assert heard.notes == ["scoring a again on short: its logits were cleared"]
    assert {name: (cell.folder / "cell.json").stat().st_mtime_ns for name, cell in cells(out).items()
            if name in before} == before
    assert not (out / "work").exists()

    # The same figures as in a run of all three at once, bit for bit.
    quantcheck.run(experiment("a", "b", "c"), tmp_path / "whole")
    for name, cell in cells(tmp_path / "whole").items():
        mine = cells(out)[name]
        assert {**mine.record["result"]} == cell.record["result"]
        for column, values in cell.table("tokens").items():
            np.testing.assert_array_equal(mine.table("tokens")[column], values)
    found = cells(out)
    assert found["c", "short"].record["result"]["kl_divergence"] \
        > found["b", "short"].record["result"]["kl_divergence"] > 0
    assert len({cell.record["result"]["prompts_sha256"] for cell in found.values()}) == 1


def test_a_variants_scoring_process_that_dies_costs_that_variant_only(
    tmp_path: Path, experiment: Callable[..., Experiment]
) -> None:
    killed: list[str] = []

    def kill_b(variant: str, subject: str, done: int, of: int) -> None:
        if (variant, subject) == ("b", "long") and not killed and 0 < done < of:
            killed.append(variant)
            kill_scoring_of("b")

    out = tmp_path / "out"
    chosen = experiment("a", "b", "c", texts=("short", "long"))
    outcome = quantcheck.run(chosen, out, Heard(kill_b))
    assert killed == ["b"]
    assert nothing_runs()
    assert [problem["variant"] for problem in outcome.problems] == ["b"]
    reason = outcome.problems[0]["reason"]
    assert "scoring of b is gone (killed by SIGKILL)" in reason
    assert "\n" not in reason
    assert set(cells(out)) == {("a", "short"), ("a", "long"), ("b", "short"), ("c", "short"), ("c", "long")}
    assert json.loads((out / "summary.json").read_text())
    assert "killed by SIGKILL" in (out / "comparison.md").read_text()

    heard = Heard()
    outcome = quantcheck.run(chosen, out, heard)
    assert outcome.problems == []
    assert heard.stored == [("b", "long")]
    assert heard.notes == [], "the baseline's logits were kept for the variant that failed"
    assert "killed by SIGKILL" not in (out / "comparison.md").read_text()


def test_the_baselines_scoring_process_that_dies_ends_the_run(
    tmp_path: Path, experiment: Callable[..., Experiment]
) -> None:
    killed: list[str] = []

    def kill_a(variant: str, subject: str, done: int, of: int) -> None:
        if subject == "long" and not killed and 0 < done < of:
            killed.append(variant)
            kill_scoring_of("a")

    out = tmp_path / "out"
    chosen = experiment("a", "b", texts=("short", "long"))
    with pytest.raises(EngineError, match=r"scoring of a is gone \(killed by SIGKILL\)") as caught:
        quantcheck.run(chosen, out, Heard(kill_a))
    assert "\n" not in str(caught.value)
    assert nothing_runs()
    assert set(cells(out)) == {("a", "short")}

    heard = Heard()
    assert quantcheck.run(chosen, out, heard).measured == 3
    assert ("a", "short") not in heard.stored


def test_a_run_of_other_token_ids_is_refused(tmp_path: Path, experiment: Callable[..., Experiment]) -> None:
    """A variant whose tokenizer cuts the text otherwise cannot be compared by token."""
    write_tiny(tmp_path / "b.gguf", TinyShape(vocab=300), kind=Kind.F16)
    problem, = quantcheck.run(experiment("a", "b"), tmp_path / "out").problems
    assert problem["variant"] == "b"
    assert "tokenizers differ" in problem["reason"]
    assert nothing_runs()
    assert set(cells(tmp_path / "out")) == {("a", "short")}
