"""An experiment with named tasks, from its plain files to the report."""

from pathlib import Path

import pytest

import quantcheck
from quantcheck import Experiment
from quantcheck.environments.installed import folder as environments_folder
from quantcheck.runner.plan import make_plan
from quantcheck.store import Store
from quantcheck.variants.artifact import Artifact
from tests.conftest import left_running, needs_environment, real_data
from tests.harness.conftest import data

__all__ = ["data"]

pytest.importorskip("lm_eval", reason="the extra quantcheck[eval] is not installed")

NO_ROOM = "answers of up to 1024 tokens do not fit the context of 512; it takes a model with a longer one"


def experiment(data: Path, **quality: object) -> Experiment:
    return Experiment.model_validate({
        "name": "named", "model": "reference", "baseline": "F16", "noise_floor": False,
        "variants": {name: {"scheme": f"gguf/{name}"} for name in ("F16", "Q2_K")},
        "quality": {"suites": ["mmlu", "gsm8k", "humaneval"], "data": str(data), "fewshot": 1, **quality},
    })


def test_tasks_are_paired_and_what_cannot_be_answered_is_told_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    outcome = quantcheck.run(experiment(data), tmp_path / "out")
    assert left_running() == []
    assert outcome.measured == 4
    assert outcome.problems == [
        {"variant": name, "subject": "humaneval", "reason": NO_ROOM} for name in ("F16", "Q2_K")]
    rows = {row.task: row for row in outcome.summary.quality}
    assert {name: row.n for name, row in rows.items()} == {"mmlu": 4, "gsm8k": 7}
    assert all(row.word in ("safe", "harmed", "inconclusive") for row in rows.values())
    missing = [row for row in outcome.summary.not_measured if row.what == "humaneval"]
    assert [row.reason for row in missing] == [NO_ROOM]
    assert outcome.summary.settings["asked"]["mmlu"]["shots"] == 1

    again = quantcheck.run(experiment(data), tmp_path / "out")  # only what has no cell is tried again
    assert again.measured == 0
    assert again.problems == outcome.problems

    (data / "gsm8k/test.jsonl").write_text((data / "gsm8k/test.jsonl").read_text().replace("3 and 3?", "3 plus 3?"))
    changed = quantcheck.run(experiment(data, suites=["mmlu", "gsm8k"]), tmp_path / "out")
    assert changed.measured == 2  # another file is another task
    assert len(list(Store(tmp_path / "out").cells())) == 6


def test_a_cell_depends_on_how_its_task_is_asked(data: Path) -> None:
    artifacts = {name: Artifact(name, Path("/none"), {"sha256": name, "bytes": 1}) for name in ("F16", "Q2_K")}

    def digests(**quality: object) -> dict[str, str]:
        plan = make_plan(experiment(data, **quality))
        return {subject: key.id for step, subject, key in plan.keys(artifacts) if step.entry == "F16"}

    own, chat = digests(), digests(fewshot=2)
    assert own["mmlu"] != chat["mmlu"]
    assert digests(fewshot={"mmlu": 1, "gsm8k": 1})["mmlu"] == own["mmlu"]
    assert digests(chat_template=True)["mmlu"] != own["mmlu"]
    assert digests(items=1)["mmlu"] != own["mmlu"]
    assert digests(context=256, stride=64)["mmlu"] == own["mmlu"]


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.timeout(900)
def test_real_items_are_paired_over_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three items a task, with their questions' own hashes; over the engine that answers from a worker."""
    needs_environment("transformers")
    real = real_data("mmlu").parent
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "environments").symlink_to(environments_folder())
    monkeypatch.setenv("QUANTCHECK_CACHE", str(tmp_path / "cache"))
    tasks = ["mmlu", "arc_easy", "hellaswag"]
    asked = Experiment.model_validate({
        "name": "named", "model": "reference", "baseline": "fp32", "noise_floor": False,
        "variants": {"fp32": {"scheme": "fp32"}, "int8": {"scheme": "torchao-int8"}},
        "engine": {"kind": "transformers", "dtype": "float32", "device": "cpu"},
        "quality": {"suites": tasks, "data": str(real), "items": 3, "fewshot": 0},
    })
    outcome = quantcheck.run(asked, tmp_path / "out")
    assert left_running() == []
    assert outcome.problems == []
    assert outcome.measured == 6
    rows = {row.task: row for row in outcome.summary.quality}
    assert {name: row.n for name, row in rows.items()} == dict.fromkeys(tasks, 3)
    assert all(row.word in ("safe", "harmed", "inconclusive") for row in rows.values())
    cells = {(cell.key.variant, cell.key.subject): cell.table("items") for cell in Store(tmp_path / "out").cells()}
    for name in tasks:
        ours, theirs = cells["fp32", name], cells["int8", name]
        for column in ("id", "doc_hash", "prompt_hash", "target_hash"):
            assert list(ours[column]) == list(theirs[column]), column
