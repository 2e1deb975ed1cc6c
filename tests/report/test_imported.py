"""A run of quantcheck against imported results: only where nothing but the variant differs."""

import json
from pathlib import Path

import numpy as np
import pytest

from quantcheck.errors import SpecError
from quantcheck.importers import import_files
from quantcheck.importers.keep import Options
from quantcheck.report.compare import compare_runs
from quantcheck.report.stored import StoredRun, read_run
from quantcheck.store import CellKey, Store
from tests.report.stored_runs import document
from tests.report.synthetic import experiment

DATA = Path(__file__).parents[1] / "importers" / "data"
HASHES = ("doc_hash", "prompt_hash", "target_hash")


def imported(out: Path, *, engine: str | None = "llama.cpp") -> StoredRun:
    import_files([("Q2", path) for path in sorted((DATA / "lm-eval-q2_k").iterdir())], out, Options(engine=engine))
    return read_run(Store(out))


def own(root: Path, *, change: str = "") -> StoredRun:
    """A run whose baseline answered the questions of lm-eval's samples, called otherwise and in another order."""
    rows = [(color, json.loads(line)) for color in ("color", "month")
            for path in (DATA / "lm-eval-f16").glob(f"samples_ref_{color}_*") for line in path.read_text().splitlines()]
    rows = rows[::-1]
    items = {
        "id": np.array([f"{group}/{row['doc_id']}" for group, row in rows]),
        "group": np.array([group for group, _ in rows]), "right": np.array([row["acc"] == 1 for _, row in rows]),
        "output": np.array([""] * len(rows)),
        **{key: np.array([change or row[key] if key == "prompt_hash" else row[key] for _, row in rows])
           for key in HASHES},
    }  # fmt: skip
    store = Store(root)
    store.lock()
    key = CellKey("quality", "F16", "ref_knowledge", 0, "0" * 64)
    store.write(key, {"result": {"kind": "task", "n": len(rows), "accuracy": 1.0}}, {"items": items})
    told = {**document(experiment(load=None)), "cells": [key.id]}
    store.write_document("experiment.json", json.dumps(told))
    store.unlock()
    return read_run(Store(root))


def test_the_same_questions_are_paired_by_their_hashes(tmp_path: Path) -> None:
    found = compare_runs(own(tmp_path / "own"), imported(tmp_path / "other"), variants=("F16", "Q2"))
    (row,) = found.variants[0].tasks
    assert (row.n, row.lost, row.gained, row.paired) == (24, 6, 0, True)
    assert row.word == "harmed"
    assert any("engine's version (B)" in note for note in found.notes)


def test_other_prompts_are_not_compared(tmp_path: Path) -> None:
    a, b = own(tmp_path / "own", change="f" * 64), imported(tmp_path / "other")
    (row,) = compare_runs(a, b, variants=("F16", "Q2")).variants[0].tasks
    assert row.word == "not comparable"


def test_another_engine_is_refused(tmp_path: Path) -> None:
    a, b = own(tmp_path / "own"), imported(tmp_path / "other", engine="vllm")
    with pytest.raises(SpecError, match=r"engine of ref_knowledge \(llama.cpp / vllm\)"):
        compare_runs(a, b, variants=("F16", "Q2"))


def test_a_score_of_another_tool_is_not_compared_with_a_run(tmp_path: Path) -> None:
    (results,) = (DATA / "lm-eval-q2_k").glob("results_*")
    import_files([("Q2", results)], tmp_path / "other", Options(engine="llama.cpp"))
    found = compare_runs(own(tmp_path / "own"), read_run(Store(tmp_path / "other")), variants=("F16", "Q2"))
    (row,) = found.variants[0].tasks
    assert row.word == "not comparable"
    assert row.reason == "measured by two tools: quantcheck and lm-eval"


def test_items_on_one_side_alone_are_an_unpaired_test(tmp_path: Path) -> None:
    import_files([("F16", path) for path in sorted((DATA / "lm-eval-f16").iterdir())], tmp_path)
    (results,) = (DATA / "lm-eval-q2_k").glob("results_*")
    import_files([("Q2", results)], tmp_path)
    run = read_run(Store(tmp_path))
    rows = {row.task: row for row in compare_runs(run, run).variants[0].tasks}
    assert not rows["ref_knowledge"].paired
    assert rows["ref_knowledge"].delta.value == -0.25
