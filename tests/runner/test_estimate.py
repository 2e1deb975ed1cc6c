"""How long a plan says that an experiment takes: learned from measured cells, or assumed by the model's shape."""

import json
from pathlib import Path
from typing import Any

import pytest

from quantcheck import presets
from quantcheck.runner import estimate as estimating
from quantcheck.runner.assumed import H200, AssumedPace, Device
from quantcheck.runner.estimate import Estimate, estimate
from quantcheck.runner.pace import Pace
from quantcheck.runner.plan import Task, make_plan
from quantcheck.spec.experiment import Experiment
from quantcheck.store import CellKey, Store
from quantcheck.telemetry.environment import hardware_id

WHOLE: list[tuple[str, str, int, float, float]] = json.loads(
    (Path(__file__).parent / "vllm-awq-18-h200.json").read_text(encoding="utf-8"))["cells"]
"""vllm-awq-18 on an H200: entry, subject, block, seconds of the cell, seconds of the start."""
MEASURED = [cell for cell in WHOLE if cell[2] == 0]
"""Its first block, whose starts found no compile cache."""
WINDOWS_S = sum(cell[3] for cell in MEASURED)
READY_S = {cell[0]: cell[4] for cell in MEASURED}
STARTS_S = sum(READY_S.values())
NEAR = 0.30
SEVENTY = json.loads(
    (Path(__file__).parent / "70b-one-gpu-or-two-h200.json").read_text(encoding="utf-8"))["cells"]  # fmt: skip
RACE = json.loads((Path(__file__).parent / "format-race-h200.json").read_text(encoding="utf-8"))["cells"]
DOCS = Path(__file__).parents[2] / "docs" / "results" / "vllm-awq-18-h200"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every machine."""
    monkeypatch.setattr(estimating, "gpus", list)


def awq_18(**changes: Any) -> Experiment:
    return presets.load("vllm-awq-18").model_copy(update=changes)


def stored(folder: Path, chosen: Experiment, measured: Any = MEASURED) -> Store:
    """A results folder that holds the measured block as a finished run of `chosen` on this machine."""
    store = Store(folder)
    store.lock()
    for number, (entry, subject, block, seconds, ready) in enumerate(measured):
        store.write(CellKey("load", entry, subject, block, f"{number:064x}"), {
            "started_at": number, "duration_s": seconds, "result": {"ready_s": ready}}, {})
    store.write_document("experiment.json", json.dumps({
        "experiment": chosen.model_dump(mode="json", by_alias=True), "hardware_id": hardware_id(),
        "artifacts": {"fp16": {}}, "cells": [cell.folder.name for cell in store.cells()], "problems": []}))
    store.unlock()
    return store


def time_line(found: Estimate) -> str:
    return next(line for line in found.lines() if line.startswith("time"))


def test_the_assumption_is_within_30_percent_of_the_block_measured_on_an_h200(tmp_path: Path) -> None:
    found = estimate(awq_18(blocks=1), Store(tmp_path / "x"), allow_probe=True)
    assert found.seconds == pytest.approx(STARTS_S + WINDOWS_S, rel=NEAR)
    assert "assumed for NVIDIA H200 (4.2 TB/s, 700 TFLOP/s): 50 s and 1 s a layer for a variant's first start" in (
        time_line(found))
    assert "several GPUs" not in time_line(found)
    # Neither half makes up for the other.
    assumed = AssumedPace(awq_18(), H200)
    windows = [assumed.seconds(task) or 0.0 for task in make_plan(awq_18(blocks=1)).tasks()]
    assert sum(windows) == pytest.approx(WINDOWS_S, rel=NEAR)
    starts = [assumed.start_s(variant, first=first) or 0.0
              for variant, first in (("fp16", True), ("awq", True), ("fp16", False))]
    assert sum(starts) == pytest.approx(STARTS_S, rel=NEAR)


def test_the_stored_runs_own_ceilings_give_the_same(tmp_path: Path) -> None:
    document = json.loads((DOCS / "experiment.json").read_text(encoding="utf-8"))
    device = Device.measured(document["ceilings"])
    assert device is not None
    assert device.name == "NVIDIA H200"
    plan = make_plan(awq_18(blocks=1))
    assert Pace(AssumedPace(awq_18(), device)).seconds(plan.tasks()) == pytest.approx(STARTS_S + WINDOWS_S, rel=NEAR)


def test_the_assumption_is_within_30_percent_of_the_whole_run(tmp_path: Path) -> None:
    found = estimate(awq_18(), Store(tmp_path / "x"), allow_probe=True)
    starts = {(entry, block): ready for entry, _, block, _, ready in WHOLE}
    assert len(WHOLE) == len(found.plan) == 81
    assert found.seconds == pytest.approx(sum(starts.values()) + sum(cell[3] for cell in WHOLE), rel=NEAR)


def test_the_assumption_is_within_30_percent_of_another_preset_measured_on_two(tmp_path: Path) -> None:
    race = presets.load("format-race")
    variants = {name: variant for name, variant in race.variants.items() if name != "gptq"}
    found = estimate(race.model_copy(update={"variants": variants}), Store(tmp_path / "x"), allow_probe=True)
    starts = {(entry, block): ready for entry, _, block, _, ready in RACE}
    assert len(RACE) == len(found.plan) == 60
    assert found.seconds == pytest.approx(sum(starts.values()) + sum(cell[3] for cell in RACE), rel=NEAR)


def test_the_assumption_is_within_30_percent_of_a_model_on_two_gpus(tmp_path: Path) -> None:
    chosen = presets.load("70b-one-gpu-or-two").model_copy(update={"blocks": 2})
    found = estimate(chosen, Store(tmp_path / "x"), allow_probe=True)
    starts = {(entry, block): ready for entry, _, block, _, ready in SEVENTY}
    windows = sum(cell[3] for cell in SEVENTY)
    assert len(SEVENTY) == len(found.plan) == 30
    assert "a quarter more on several GPUs" in time_line(found)
    assert found.seconds == pytest.approx(sum(starts.values()) + windows, rel=NEAR)
    # Neither half makes up for the other.
    assumed = AssumedPace(chosen, H200)
    assert sum(assumed.seconds(task) or 0.0 for task in make_plan(chosen).tasks()) == pytest.approx(windows, rel=NEAR)


@pytest.mark.parametrize(("told", "times"), [(2, 1.25), ("4", 1.25), (1, 1.0), ("two", 1.0), (None, 1.0)])
def test_a_start_on_several_gpus_takes_longer(told: object, times: float) -> None:
    chosen = awq_18()
    engine = chosen.engine.model_copy(update={"args": {"tensor-parallel-size": told}})
    many = chosen.model_copy(update={"engine": engine})
    for first, seconds in ((True, 50 + 32), (False, 25 + 16)):
        assert AssumedPace(many, H200).start_s("fp16", first=first) == times * seconds


def test_a_stored_block_predicts_the_next_ones_starts_included(tmp_path: Path) -> None:
    chosen = awq_18(blocks=3)
    found = estimate(chosen, stored(tmp_path / "mine", chosen), allow_probe=True)
    assert (found.stored, len(found.plan)) == (27, 81)
    # Two blocks more: every window as it was (the baseline's two as their mean), every start as the variant's last.
    assert found.seconds == pytest.approx(2 * (WINDOWS_S + 2 * READY_S["fp16@again"] + READY_S["awq"]), rel=0.01)
    assert time_line(found).endswith("from the cells stored here")


def test_a_run_beside_of_the_same_model_teaches_starts_and_scale(tmp_path: Path) -> None:
    stored(tmp_path / "earlier", awq_18(blocks=1))
    same = estimate(awq_18(blocks=1), Store(tmp_path / "again"), allow_probe=True)
    assert same.seconds == pytest.approx(WINDOWS_S + 2 * READY_S["fp16@again"] + READY_S["awq"], rel=0.01)
    assert "from the cells in earlier, the rest assumed for" in time_line(same)
    race = presets.load("format-race")
    stored(tmp_path / "whole" / "earlier", awq_18(), WHOLE)
    learned = estimate(race, Store(tmp_path / "whole" / "race"), allow_probe=True).seconds
    alone = estimate(race, Store(tmp_path / "elsewhere" / "race"), allow_probe=True).seconds
    assert learned is not None
    assert alone is not None
    assert learned != alone
    assert learned == pytest.approx(alone, rel=NEAR)
    # Another model's cells say nothing.
    other = presets.load("70b-one-gpu-or-two")
    assert "cells" not in time_line(estimate(other, Store(tmp_path / "70b"), allow_probe=True))


def test_real_weights_are_read_from_the_disk_and_made_before(tmp_path: Path) -> None:
    real = presets.load("reference-vllm")
    found = estimate(real, Store(tmp_path / "x"), allow_probe=True)
    lines = list(found.lines())
    assert "made first  fp8, w8a8, gptq, awq by llm-compressor, once; that time is not in what follows" in lines
    assert "GB of weights loaded per second" in time_line(found)
    assert "tokens scored per second" in time_line(found)
    assert found.seconds is not None
    # 6 entries x (3 blocks + 1 scoring) starts, five of them the first of a variant, are most of it.
    starts = 5 * 85 + 19 * 40
    assert starts < found.seconds < 1.5 * starts


def test_a_gpu_that_was_measured_takes_the_place_of_the_assumed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = {"cuda": {"name": "Half", "copy": {"median": 2.1e12}, "matrix": {"fp16": {"median": 3.5e14}}}}
    monkeypatch.setattr(estimating, "gpus", lambda: [{"name": "Half"}])
    monkeypatch.setattr(estimating, "ceilings_of", lambda *_args, **_others: slow)
    fast = estimate(awq_18(), Store(tmp_path / "x"), allow_probe=False)
    found = estimate(awq_18(), Store(tmp_path / "x"), allow_probe=True)
    assert "assumed for Half (2.1 TB/s, 350 TFLOP/s)" in time_line(found)
    assert found.seconds is not None
    assert fast.seconds is not None
    assert found.seconds > fast.seconds


def test_a_model_that_is_not_at_hand_leaves_the_time_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    other = presets.load("llm-compressor-w8a8").model_copy(update={"model": "hub:tiny/other"})
    found = estimate(other, Store(tmp_path / "x"), allow_probe=True)
    assert found.seconds is None
    assert "'hub:tiny/other' is not in the local hub cache" in time_line(found)


def test_a_hubs_model_is_planned_by_its_built_in_shape_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_args: pytest.fail("nothing is fetched"))
    chosen = presets.load("llm-compressor-w8a8")
    found = estimate(chosen, Store(tmp_path / "x"), allow_probe=True)
    assert "assumed for NVIDIA H200 and the shape llama-3.1-8b" in time_line(found)
    # Starts read 16 and 9 GB from the disk.
    assert AssumedPace(chosen, H200).start_s("bf16", first=True) == pytest.approx(50 + 32 + 16.06, abs=0.1)
    assert AssumedPace(chosen, H200).start_s("w8a8", first=False) == pytest.approx(25 + 16 + 9.09, abs=0.1)


def test_unlike_options_are_told(tmp_path: Path) -> None:
    lines = estimate(presets.load("70b-one-gpu-or-two"), Store(tmp_path / "x"), allow_probe=False).lines()
    told = [line for line in lines if line.startswith("unlike")]
    assert len(told) == 3
    assert "awq: tensor-parallel-size the default (fp16: 2)" in told[-1]


def task(entry: str, subject: str = "s@c1", block: int = 0, work: float = 100.0, kind: Any = "load") -> Task:
    return Task(entry, subject, block, kind, work, kind == "load")


def test_a_variants_own_cells_go_before_others_and_sizes_are_kept_apart() -> None:
    pace = Pace()
    assert pace.seconds([task("a")]) is None
    pace.learn(task("a"), 10.0)
    pace.learn(task("b"), 20.0)
    assert pace.seconds([task("a@again", block=3)]) == 10.0
    assert pace.seconds([task("b")]) == 20.0
    assert pace.seconds([task("c")]) == 15.0
    # The same name with more work is another size: by the kind's rate.
    assert pace.seconds([task("a", work=400.0)]) == pytest.approx(400 * 30 / 200)


def test_a_start_counts_once_for_all_its_cells() -> None:
    pace = Pace()
    pace.learn(task("a"), 1.0)
    pace.learn_start("a", 9.0)
    pace.learn_start("a@again", 5.0)
    cells = [task("a", block=0), task("a", block=0), task("a", block=1)]
    assert pace.seconds(cells) == 3 * 1.0 + 2 * 5.0
    # Another variant starts as that one did, for the first time and then again.
    assert pace.seconds([task("b")]) == 1.0 + 9.0
    assert pace.seconds([task("b"), task("b", block=1)]) == 2 * 1.0 + 9.0 + 5.0
    scored = task("a", kind="quality")
    pace.learn(scored, 2.0)
    assert pace.seconds([scored]) == 2.0
