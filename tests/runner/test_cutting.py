"""A quality step measured in shares by the runner's own functions: the cells of a whole run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcheck.quality.parts import Part, figures, joined, shares
from quantcheck.runner.cutting import units_of
from quantcheck.runner.plan import Plan, QualityStep, Step, make_plan
from quantcheck.runner.progress import Silent
from quantcheck.runner.scoring import Share, score
from quantcheck.spec.experiment import Experiment, Variant
from quantcheck.store import CellKey, Store
from quantcheck.variants.artifact import Artifact
from quantcheck.variants.make import prepare

CORPUS, TASK = "reference/stories", "reference/knowledge"


def locked(folder: Path) -> Store:
    store = Store(folder)
    store.lock()
    return store


def keys(plan: Plan, step: Step, artifacts: Mapping[str, Artifact]) -> dict[str, CellKey]:
    return {subject: plan.key(step, subject, artifacts) for subject in step.subjects}


@pytest.fixture
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Artifact]:
    return prepare("reference", {name: Variant(scheme=f"gguf/{name}") for name in ("F16", "Q2_K")},
                   cache=tmp_path_factory.mktemp("cache"))


def test_shares_of_a_step_make_the_cells_of_the_whole_step(ladder: Mapping[str, Artifact], tmp_path: Path) -> None:
    experiment = Experiment.model_validate({
        "name": "cut", "model": "reference", "baseline": "F16", "noise_floor": False,
        "variants": {name: {"scheme": f"gguf/{name}"} for name in ("F16", "Q2_K")},
        "engine": {"kind": "llama.cpp", "scoring_threads": 2},
        "quality": {"suites": [CORPUS, TASK], "items": 10, "tokens": 1500},
    })
    plan = make_plan(experiment)
    there, here = locked(tmp_path / "there"), locked(tmp_path / "here")
    units = units_of(plan, ladder, there, Silent())
    assert {unit.suite for unit in units} == {CORPUS, TASK}
    assert sum(unit.suite == CORPUS for unit in units) > 2
    parts: dict[CellKey, list[Part]] = {}

    def keep(key: CellKey, part: Part, record: dict[str, Any]) -> None:
        assert record["duration_s"] > 0
        assert record["artifact_sha256"] == ladder[key.variant].sha256
        parts.setdefault(key, []).append(part)

    baseline, variant = plan.steps
    for step in (baseline, variant):
        assert isinstance(step, QualityStep)
        assert score(plan, step, keys(plan, step, ladder), ladder, here, Silent()) == {}
    assert isinstance(variant, QualityStep)
    # Where the baseline's logits did not come: each share scores it again on its own windows.
    for spans in shares(units, 2):
        asked = {subject: key for subject, key in keys(plan, variant, ladder).items() if subject in spans}
        assert score(plan, variant, asked, ladder, there, Silent(), Share(spans, keep)) == {}
    assert not list(there.cells())
    cells = {cell.key: cell for cell in here.cells() if cell.key.variant == "Q2_K"}
    assert parts.keys() == cells.keys()
    assert any(len(found) > 1 for found in parts.values())
    for key, found in parts.items():
        whole = joined(found)
        assert whole is not None
        result, rows = figures(whole)
        assert result == cells[key].record["result"]
        stored = cells[key].table("tokens" if key.subject == CORPUS else "items")
        assert rows.keys() == stored.keys()
        for name, column in rows.items():
            np.testing.assert_array_equal(column, stored[name])
