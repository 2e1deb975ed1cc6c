"""The same weights by llama.cpp and by transformers: what Q2_K loses is in its weights."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from quantcheck import Experiment, SpecError
from quantcheck.environments.installed import folder as environments_folder
from quantcheck.errors import MeasurementError, QuantcheckError
from quantcheck.report.through import through_lines
from quantcheck.runner.through import _alone, _scratch, second_engine, through
from quantcheck.spec.experiment import LlamaCppEngine, TransformersEngine, VllmEngine
from tests.conftest import left_running, needs_environment

CORPUS = "reference/stories"


def experiment(**changes: Any) -> Experiment:
    return Experiment.model_validate({
        "name": "exp", "model": "reference", "baseline": "F16",
        "variants": {"F16": {"scheme": "gguf/F16"}, "Q2_K": {"scheme": "gguf/Q2_K"}},
        "quality": {"suites": [CORPUS], "context": 128, "stride": 64}, **changes})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_bits_harm_under_transformers_as_they_do_under_llama_cpp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_environment("transformers")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "environments").symlink_to(environments_folder())
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    found = through(experiment(), "Q2_K", second_engine("transformers"), tokens=1500)
    assert left_running() == []
    here, there, floor, kernels = found.pairs
    assert found.tokens == 1500
    assert found.top_k is None
    assert 0.3 < here.kl_divergence.value < 2  # type: ignore[operator]
    assert there.kl_divergence.value == pytest.approx(here.kl_divergence.value, rel=0.05)
    assert floor.kl_divergence.value < 1e-5  # type: ignore[operator]
    assert floor.top1.value > 0.99  # type: ignore[operator]
    # Q2_K's kernels round what a matrix is multiplied with to eight bits, which float32 does not.
    assert floor.kl_divergence.value < kernels.kl_divergence.value < 0.1 * here.kl_divergence.value  # type: ignore[operator]
    assert found.culprit == "weights"
    assert "the damage is of the weights" in through_lines(found)[1]


def test_windows_leave_room_for_the_token_that_vllm_writes() -> None:
    for context, stride, expected in ((512, 256, (511, 256)), (9, 8, (8, 7))):
        asked = experiment(quality={"suites": [CORPUS], "context": context, "stride": stride})
        one = _alone(asked, "Q2_K", CORPUS, 1024, asked.engine, room=1)
        assert one.quality is not None
        assert (one.quality.context, one.quality.stride) == expected


def test_what_can_be_named() -> None:
    assert second_engine("transformers") == TransformersEngine(dtype="float32")
    assert second_engine("vllm") == VllmEngine()
    with pytest.raises(SpecError, match="--through sglang: give transformers, vllm, or an experiment's file"):
        second_engine("sglang")


def test_an_experiments_file_lends_its_engine(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(
        "model: reference\nbaseline: a\nvariants: {a: {scheme: fp32}}\nengine: {kind: transformers, attention: eager}\n"
        "quality: {suites: [reference/stories]}\n")
    assert second_engine(str(tmp_path / "other.yaml")) == TransformersEngine(attention="eager")


@pytest.mark.parametrize(("changes", "variant", "engine", "message"), [
    ({}, "Q9", TransformersEngine(), "no variant 'Q9' beside the baseline; take one of Q2_K"),
    ({}, "F16", TransformersEngine(), "no variant 'F16' beside the baseline"),
    ({}, "Q2_K", LlamaCppEngine(threads=1), "is the experiment's engine with the same settings"),
    ({"quality": {"suites": ["reference/arithmetic"]}}, "Q2_K", TransformersEngine(), "no perplexity corpus"),
    ({"variants": {"F16": {}, "Q2_K": {"scheme": "fp16"}}, "engine": {"kind": "transformers"}}, "Q2_K",
     LlamaCppEngine(), "reads GGUF files, and the experiment's variants are folders"),
])
def test_what_cannot_be_compared_is_refused(changes: Any, variant: str, engine: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        through(experiment(**changes), variant, engine)


def test_a_model_that_is_a_gguf_file_has_no_folder_to_restore_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.ggml.tiny import write_tiny

    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    write_tiny(tmp_path / "model.gguf")
    asked = experiment(model=str(tmp_path / "model.gguf"), variants={
        "F16": {"scheme": "gguf/F16"}, "Q2_K": {"scheme": "gguf/Q8_0"}})
    with pytest.raises(SpecError, match="is a GGUF file, and transformers needs configuration and tokenizer"):
        through(asked, "Q2_K", TransformersEngine())


def test_only_the_logs_of_an_engine_that_failed_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for error, left in ((MeasurementError("died; full log: LOG"), ["vllm.log"]), (SpecError("no"), []), (None, [])):
        with suppress(QuantcheckError), _scratch() as folder:
            for name in ("weights-0", "score-0/work", "score-0/logs"):
                (folder / name).mkdir(parents=True)
            (folder / "score-0" / "logs" / "vllm.log").write_text("what it said")
            if error:
                raise error
        assert [path.name for path in folder.rglob("*") if path.is_file()] == left
        assert folder.exists() == bool(left)
