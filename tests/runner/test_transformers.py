"""An experiment on transformers, as a user runs it: quality and speed, and a format that this machine cannot run."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

import quantcheck
from quantcheck import Experiment, SpecError
from quantcheck.environments.installed import folder as environments_folder
from quantcheck.runner.artifacts import artifacts_of
from quantcheck.runner.loading import scoring_batch
from quantcheck.runner.plan import make_plan
from quantcheck.runner.progress import Silent
from quantcheck.runner.run import Outcome
from quantcheck.spec.experiment import TransformersEngine
from quantcheck.store import Cell, Store
from tests.conftest import left_running, needs_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CORPUS, TASK, CHOICE = "reference/stories", "reference/arithmetic", "reference/knowledge"
EXPERIMENT: dict[str, Any] = {
    "name": "exp", "model": "reference", "baseline": "fp32", "blocks": 1, "noise_floor": False,
    "variants": {"fp32": {"scheme": "fp32"}, "int8": {"scheme": "bnb-int8"}, "int4": {"scheme": "torchao-int4"}},
    "engine": {"kind": "transformers", "dtype": "float32", "device": "cpu", "threads": 1},
    "quality": {"suites": [CORPUS, TASK, CHOICE], "items": 4, "tokens": 200, "context": 64, "stride": 32},
    "load": {"workloads": {"w": {"prompt_tokens": 16, "output_tokens": 4}}, "concurrency": [2], "requests": 5,
             "warmup_requests": 1},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cache of our own, with the user's environments."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "environments").symlink_to(environments_folder())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTCHECK_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def out(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    needs_environment("transformers")
    folder = tmp_path_factory.mktemp("run") / "out"
    outcome = quantcheck.run(Experiment.model_validate(EXPERIMENT), folder)
    assert left_running() == []
    return folder, outcome


def cells(out: Path) -> dict[tuple[str, str], Cell]:
    return {(cell.key.variant, cell.key.subject): cell for cell in Store(out).cells()}


def test_all_but_what_cannot_run_here_is_measured(out: tuple[Path, Outcome]) -> None:
    folder, outcome = out
    assert [problem["variant"] for problem in outcome.problems] == ["int4"]
    reason = outcome.problems[0]["reason"]
    assert "transformers cannot load it: " in reason
    assert "Only bfloat16 is supported" in reason, "upstream's own reason"
    assert "\n" not in reason
    assert set(cells(folder)) == {(entry, subject) for entry in ("fp32", "int8")
                                  for subject in (CORPUS, TASK, CHOICE, "w@c2")}


def test_quality_is_over_the_whole_vocabulary(out: tuple[Path, Outcome]) -> None:
    found = cells(out[0])
    base, int8 = (found[entry, CORPUS].record["result"] for entry in ("fp32", "int8"))
    assert base["kl_divergence"] is None
    assert int8["kl_kind"] == "full"
    assert 1e-5 < int8["kl_divergence"] < 0.05
    assert int8["prompts_sha256"] == base["prompts_sha256"]
    engine = found["int8", TASK].record["engine"]
    assert (engine["kind"], engine["device"], engine["dtype"]) == ("transformers", "cpu", "float32")
    assert engine["linear_layers"] == {"Linear": 1, "Linear8bitLt": 56}
    assert (engine["batch_size"], engine["batch_tokens"]) == (16, 2048)


def test_batches_are_told_as_the_engines_own_measurement(out: tuple[Path, Outcome]) -> None:
    folder, outcome = out
    cell = cells(folder)["int8", "w@c2"]
    result = cell.record["result"]
    assert (result["measured_by"], result["clock"]) == ("engine", "monotonic clock")
    assert (result["batches"], result["batch_size"], result["output_tokens"]) == (3, 2, 24)
    assert result["engine"]["packages"]["bitsandbytes"]
    sizes = {name: cells(folder)[name, "w@c2"].record["result"]["memory"] for name in ("fp32", "int8")}
    assert sizes["int8"]["allocated_bytes"] < 0.5 * sizes["fp32"]["allocated_bytes"]
    assert sizes["fp32"]["kv_cache_bytes"] == 2 * 8 * 4 * 32 * 4 * 19 * 2
    requests = cell.table("requests")
    prefill = statistics.median((requests["first_s"] - requests["sent_s"])[::2])
    assert prefill == pytest.approx(result["metrics"]["ttft"])

    speed = {(row.variant, row.metric): row for row in outcome.summary.speed}
    for metric in ("output_throughput", "ttft", "itl", "prefill_throughput", "decode_throughput"):
        assert speed["fp32", metric].value.value, metric
    assert speed["int4", "ttft"].value.reason
    memory = {row.variant: row for row in outcome.summary.memory}
    assert memory["int8"].allocated_bytes.value == sizes["int8"]["allocated_bytes"]
    text = (folder / "comparison.md").read_text()
    assert "after load" in text
    assert "Decode" in text


def test_what_the_figures_depend_on_is_in_their_digests(out: tuple[Path, Outcome]) -> None:
    folder, _ = out
    document = json.loads((folder / "experiment.json").read_text())
    stored = {cell.key.id for cell in Store(folder).cells()}
    assert set(document["cells"]) == stored

    def keys(**engine: Any) -> set[str]:
        experiment = Experiment.model_validate({**EXPERIMENT, "engine": {**EXPERIMENT["engine"], **engine}})
        made, _ = artifacts_of(experiment, Silent())
        return {key.id for _, _, key in make_plan(experiment).keys(made) if key.variant != "int4"}

    assert keys() == stored
    assert keys(start_timeout_s=1.0) == stored
    for other in ({"attention": "eager"}, {"dtype": "bfloat16"}):
        assert not keys(**other) & stored
    assert len(keys(cache="static") & stored) == 6, "of speed alone"


def test_the_twin_is_scored_in_other_batches() -> None:
    assert scoring_batch(TransformersEngine(), again=False) == (16, 2048)
    assert scoring_batch(TransformersEngine(), again=True) == (5, 682)
    assert scoring_batch(TransformersEngine(batch_size=1), again=True) == (3, 6144)


def test_what_is_too_long_is_refused(cache: Path, tmp_path: Path) -> None:
    needs_environment("transformers")
    load = {**EXPERIMENT["load"], "workloads": {"w": {"prompt_tokens": 510, "output_tokens": 4}}}
    experiment = Experiment.model_validate({**EXPERIMENT, "quality": None, "load": load, "noise_floor": False,
                                            "variants": {"fp32": {"scheme": "fp32"}}})
    with pytest.raises(SpecError, match=r"load\.workloads\.w: 514 tokens .* fp32 holds 512; shorten"):
        quantcheck.run(experiment, tmp_path / "out")
    assert left_running() == []
