"""Imported files in the store, and what a comparison of them says and does not say."""

import json
from pathlib import Path

import numpy as np
import pytest

from quantcheck.errors import SpecError, StoreError
from quantcheck.importers import import_files
from quantcheck.importers.keep import Options
from quantcheck.report.compare import compare_runs
from quantcheck.report.comparison import RunComparison
from quantcheck.report.stored import read_run
from quantcheck.runner.run import report
from quantcheck.spec.policy import Policy
from quantcheck.stats import compare_items
from quantcheck.store import Store

DATA = Path(__file__).parent / "data"


def compared(out: Path, *, force: bool = False) -> RunComparison:
    run = read_run(Store(out))
    return compare_runs(run, run, force=force)


def folder(name: str) -> list[Path]:
    return sorted((DATA / name).iterdir())


def test_one_file_a_side_gives_a_ratio_and_no_interval(tmp_path: Path) -> None:
    import_files([("F16", DATA / "guidellm-f16.json"), ("Q4", DATA / "guidellm-q4.json")], tmp_path)
    found = compared(tmp_path)
    (one,) = found.variants
    assert (one.a, one.b) == ("F16", "Q4")
    assert one.speed is not None
    assert one.speed.ratio.value is not None
    assert one.speed.ratio.low is None
    assert one.speed.word == "inconclusive"
    rows = {row.metric: row for row in one.loads}
    assert rows["itl"].word is None
    assert "a request's mean" in str(rows["itl"].ratio.reason)
    assert any("does not tell the engine" in note for note in found.notes)


def test_repeated_files_are_blocks(tmp_path: Path) -> None:
    import_files([("F16", DATA / f"vllm-bench-f16-{n}.json") for n in (1, 2)], tmp_path)
    import_files([("Q4", DATA / f"vllm-bench-q4-{n}.json") for n in (1, 2)], tmp_path)
    (one,) = compared(tmp_path).variants
    assert one.speed is not None
    assert one.speed.blocks == (2, 2)
    assert one.speed.ratio.low is not None
    logs = [[np.log(json.loads((DATA / f"vllm-bench-{side}-{n}.json").read_text())["output_throughput"])
             for n in (1, 2)] for side in ("f16", "q4")]
    assert one.speed.ratio.value == pytest.approx(np.exp(np.mean(logs[1]) - np.mean(logs[0])))


def test_the_same_file_twice_is_one_measurement(tmp_path: Path) -> None:
    import_files([("F16", DATA / "aiperf-f16.json")], tmp_path)
    again = import_files([("F16", DATA / "aiperf-f16.json")], tmp_path)
    assert again.cells == []
    assert "is there already" in again.notes[0]
    assert len(read_run(Store(tmp_path)).cells) == 1


def test_every_cell_says_where_it_comes_from(tmp_path: Path) -> None:
    import_files([("F16", DATA / "llama-bench-f16.json")], tmp_path, Options(name="laptop"))
    for cell in read_run(Store(tmp_path)).cells:
        origin = cell.record["imported"]
        assert (origin["tool"], origin["engine"]) == ("llama-bench", "llama.cpp")
        assert origin["file"] == "llama-bench-f16.json"
        assert len(origin["sha256"]) == 64
        assert cell.key.subject.startswith("laptop@")


def test_items_are_paired(tmp_path: Path) -> None:
    import_files([("F16", path) for path in folder("lm-eval-f16")], tmp_path)
    import_files([("Q2", path) for path in folder("lm-eval-q2_k")], tmp_path)
    (one,) = compared(tmp_path).variants
    rows = {row.task: row for row in one.tasks}
    assert rows.keys() == {"ref_arithmetic", "ref_knowledge"}
    row = rows["ref_knowledge"]
    assert (row.n, row.lost, row.gained, row.paired, row.groups) == (24, 6, 0, True, None)
    assert row.word == "harmed"
    run = read_run(Store(tmp_path))
    sides = [next(cell for cell in run.cells if cell.key.variant == name and cell.key.subject == "ref_knowledge")
             for name in ("F16", "Q2")]
    tables = [cell.table("items") for cell in sides]
    assert set(tables[0]["group"]) == {"ref_color", "ref_month"}
    direct = compare_items(tables[0]["right"], tables[1]["right"], margin=0.01, groups=list(tables[0]["group"]))
    assert row.delta.value == direct.delta
    assert row.p == direct.p


def test_scores_without_items_get_an_unpaired_test_that_is_said(tmp_path: Path) -> None:
    files = [(name, path) for name, where in (("F16", "lm-eval-f16"), ("Q2", "lm-eval-q2_k"))
             for path in folder(where) if path.name.startswith("results")]
    import_files(files, tmp_path)
    found = compared(tmp_path)
    (one,) = found.variants
    row = next(row for row in one.tasks if row.task == "ref_knowledge")
    assert (row.paired, row.lost, row.gained, row.p) == (False, None, None, None)
    assert row.unpaired is not None
    assert "unpaired" in str(row.reason)
    assert one.quality.lost is None
    assert any("unpaired test" in note for note in found.notes)
    # The same answers, paired, have a narrower interval.
    paired = tmp_path / "paired"
    import_files([(name, path) for name, where in (("F16", "lm-eval-f16"), ("Q2", "lm-eval-q2_k"))
                  for path in folder(where)], paired)
    other = next(row for row in compared(paired).variants[0].tasks if row.task == "ref_knowledge")
    assert other.delta.value == row.delta.value
    ends = [other.delta.low, other.delta.high, row.delta.low, row.delta.high]
    assert None not in ends
    narrow, wide = (high - low for low, high in (ends[:2], ends[2:]))  # type: ignore[operator]
    assert narrow < wide


def test_items_that_were_asked_otherwise_are_not_compared(tmp_path: Path) -> None:
    (samples,) = (path for path in folder("lm-eval-q2_k") if "ref_color" in path.name)
    text = samples.read_text()
    first = json.loads(text.splitlines()[0])["prompt_hash"]
    other = tmp_path / samples.name
    other.write_text(text.replace(first, "0" * 64))
    (ours,) = (path for path in folder("lm-eval-f16") if "ref_color" in path.name)
    import_files([("F16", ours), ("Q2", other)], tmp_path / "out")
    (row,) = compared(tmp_path / "out").variants[0].tasks
    assert row.word == "not comparable"
    assert row.delta.value is None
    assert "prompt" in str(row.reason)


def test_another_metric_is_not_compared(tmp_path: Path) -> None:
    sides = [next(path for path in folder(where) if "ref_color" in path.name)
             for where in ("lm-eval-f16", "lm-eval-q2_k")]
    import_files([("F16", sides[0])], tmp_path)
    import_files([("Q2", sides[1])], tmp_path, Options(metric="acc_norm"))
    (row,) = compared(tmp_path).variants[0].tasks
    assert row.word == "not comparable"
    assert "metric is acc,none and acc_norm,none" in str(row.reason)


def test_perplexity_is_unpaired_unless_the_log_has_the_baseline(tmp_path: Path) -> None:
    import_files([("F16", DATA / "llama-perplexity-f16.log"), ("Q4", DATA / "llama-perplexity-q4.log"),
                  ("KL", DATA / "llama-perplexity-q4-kl.log")], tmp_path)
    plain, damage = compared(tmp_path).variants
    assert plain.corpora[0].ratio.value == pytest.approx(2.7861 / 2.7225)
    assert plain.corpora[0].word == "inconclusive"
    assert "no per-token records" in str(plain.corpora[0].reason)
    # llama.cpp cuts unlikely tokens when it stores a base: its ratio is 1.0418 here, and the true one 1.0234.
    assert damage.corpora[0].ratio.value == pytest.approx(2.786143 / 2.7225)
    assert "2.6743" in str(damage.corpora[0].reason)
    assert damage.corpora[0].kl_divergence.value is None
    log = (DATA / "llama-perplexity-f16.log").read_text()
    same = tmp_path / "same.log"
    same.write_text(log.replace("PPL = 2.7225", "PPL = 2.6743"))
    import_files([("F16", same), ("KL", DATA / "llama-perplexity-q4-kl.log")], tmp_path / "same")
    row = compared(tmp_path / "same").variants[0].corpora[0]
    assert row.ratio.value == pytest.approx(1.041804, abs=1e-6)
    assert row.kl_divergence.value == 0.019756
    assert "paired by llama-perplexity itself" in str(row.reason)


@pytest.mark.parametrize(("change", "what"), [
    (lambda d: d["config"]["spec"]["data"][0].update(prompt_tokens=128), "data"),
    (lambda d: d["metadata"].update(guidellm_version="0.8.9"), "tool version"),
    (lambda d: d["benchmarks"][0]["metrics"]["prompt_token_count"]["successful"].update(mean=70.0), "prompt tokens"),
])
def test_other_work_is_not_compared(change: object, what: str, tmp_path: Path) -> None:
    document = json.loads((DATA / "guidellm-q4.json").read_text())
    change(document)  # type: ignore[operator]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(document))
    import_files([("F16", DATA / "guidellm-f16.json"), ("Q4", other)], tmp_path / "out")
    with pytest.raises(SpecError, match=f"not comparable: .*{what}"):
        compared(tmp_path / "out")
    forced = compared(tmp_path / "out", force=True).variants[0]
    assert forced.speed is not None
    assert forced.speed.ratio.value is not None
    assert forced.speed.word is None


def test_two_tools_are_not_compared(tmp_path: Path) -> None:
    import_files([("F16", DATA / "guidellm-f16.json"), ("Q4", DATA / "aiperf-q4.json")], tmp_path, Options(name="chat"))
    with pytest.raises(SpecError, match="tool of chat@c2"):
        compared(tmp_path)


def test_a_second_score_of_one_task_is_refused(tmp_path: Path) -> None:
    import_files([("F16", DATA / "llama-perplexity-f16.log")], tmp_path)
    before = (tmp_path / "experiment.json").read_text()
    with pytest.raises(SpecError, match="F16 has text already"):
        import_files([("F16", DATA / "llama-perplexity-q4.log")], tmp_path)
    assert (tmp_path / "experiment.json").read_text() == before
    import_files([("F16", DATA / "llama-perplexity-q4.log")], tmp_path, Options(name="wiki"))
    with pytest.raises(SpecError, match="F16 has text already"):
        import_files([("F16", DATA / f"llama-perplexity-{name}.log") for name in ("f16", "q4")], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_when_one_file_is_broken(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(SpecError, match="broken.json"):
        import_files([("F16", DATA / "guidellm-f16.json"), ("Q4", broken)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_a_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text('{"experiment": {}}')
    with pytest.raises(StoreError, match="holds a run of quantcheck"):
        import_files([("F16", DATA / "guidellm-f16.json")], tmp_path)


@pytest.mark.parametrize("told", [3, [], {}, {"variants": 3, "baseline": "a"}, {"variants": ["a"]}])
def test_a_damaged_folder_is_named(told: object, tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text(json.dumps({"imported": told, "cells": []}))
    with pytest.raises(StoreError, match="experiment.json"):
        import_files([("F16", DATA / "guidellm-f16.json")], tmp_path)
    with pytest.raises(StoreError, match="experiment.json"):
        read_run(Store(tmp_path))


def test_imported_results_have_no_report_and_no_gate(tmp_path: Path) -> None:
    import_files([("F16", DATA / "guidellm-f16.json")], tmp_path)
    with pytest.raises(StoreError, match="imported results"):
        report(Store(tmp_path))
    with pytest.raises(StoreError, match="imported results"):
        read_run(Store(tmp_path)).under(Policy(), "p.yaml")


def test_the_baseline_may_be_named_later(tmp_path: Path) -> None:
    import_files([("Q4", DATA / "guidellm-q4.json")], tmp_path)
    found = import_files([("F16", DATA / "guidellm-f16.json")], tmp_path, baseline="F16")
    assert found.variants == ["F16", "Q4"]
    assert compared(tmp_path).variants[0].a == "F16"
    with pytest.raises(SpecError, match="is no name of a variant"):
        import_files([("a b", DATA / "guidellm-f16.json")], tmp_path)


def test_what_only_one_side_has_is_told(tmp_path: Path) -> None:
    import_files([("F16", DATA / "guidellm-f16.json"), ("Q4", DATA / "guidellm-q4.json"),
                  ("F16", DATA / "llama-perplexity-f16.log")], tmp_path)
    found = compared(tmp_path)
    assert "only F16 has text" in found.notes
    assert [row.load for row in found.variants[0].loads] == ["guidellm@c2"] * len(found.variants[0].loads)
