"""Two runs against each other: the right verdicts where they are alike, a named refusal where they are not."""

import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from quantcheck.errors import SpecError
from quantcheck.report.compare import compare_runs
from quantcheck.report.compare_text import as_markdown, as_text
from quantcheck.report.comparison import RunComparison, VariantComparison
from quantcheck.report.speed import THROUGHPUT
from quantcheck.report.stored import StoredRun
from tests.report import synthetic
from tests.report.stored_runs import in_memory
from tests.report.synthetic import FakeCell


def faster(cells: list[FakeCell], factor: float, variant: str | None = None) -> list[FakeCell]:
    for cell in cells:
        key = cell.record["key"]
        if key["kind"] == "load" and variant in (None, key["variant"]):
            cell.record["result"]["metrics"]["output_throughput"] *= factor
    return cells


def jittered(cells: list[FakeCell], seed: int) -> list[FakeCell]:
    """As another run of the same would come out: every block a little different."""
    rng = np.random.default_rng(seed)
    for cell in cells:
        if cell.record["key"]["kind"] == "load":
            cell.record["result"]["metrics"]["output_throughput"] *= float(np.exp(rng.normal(0, 0.01)))
    return cells


def compare(a: StoredRun, b: StoredRun, **more: Any) -> RunComparison:
    return compare_runs(a, b, **more)


def one(comparison: RunComparison, name: str) -> VariantComparison:
    return next(found for found in comparison.variants if found.b == name)


@pytest.fixture(scope="module")
def plain() -> StoredRun:
    return in_memory(synthetic.cells())


def test_a_run_against_its_like_is_safe_and_names_every_variant(plain: StoredRun) -> None:
    found = compare(plain, in_memory(jittered(synthetic.cells(), 1), "b"))
    assert [row.a for row in found.variants] == ["F16", "Q8_0", "Q4_K_M", "Q2_K"]
    assert found.differences == []
    for row in found.variants:
        assert row.same_file
        assert row.quality.word == "safe"
        assert {task.word for task in row.tasks} == {"safe"}
        assert row.speed is not None
        assert row.speed.word in ("no detectable difference", "inconclusive")


def test_quality_is_paired_by_item_as_within_a_run(plain: StoredRun) -> None:
    found = one(compare(plain, in_memory(synthetic.cells(), "b"), variants=("F16", "Q2_K")), "Q2_K")
    within = {row.task: row for row in plain.summary().quality if row.variant == "Q2_K"}
    for row in found.tasks:
        same = within[row.task]
        assert (row.lost, row.gained, row.delta.low, row.word) == (same.lost, same.gained, same.delta.low, same.word)
    assert found.quality.word == "harmed"
    corpora = {row.corpus: row for row in plain.summary().corpora if row.variant == "Q2_K"}
    assert all(row.ratio == corpora[row.corpus].ratio for row in found.corpora)
    assert {row.kl_divergence.reason for row in found.corpora} == {
        "stored is only what each run has against its own baseline"}


def test_speed_is_welchs_on_log_figures(plain: StoredRun) -> None:
    other = in_memory(faster(synthetic.cells(), 1.5, "Q8_0"), "b")
    found = one(compare(plain, other), "Q8_0")
    row = next(row for row in found.loads if (row.load, row.metric) == ("short@c8", THROUGHPUT))
    ours, theirs = (np.log([cell.record["result"]["metrics"][THROUGHPUT] for cell in run.cells
                            if cell.record["key"]["variant"] == "Q8_0" and cell.record["key"]["subject"] == "short@c8"])
                    for run in (plain, other))
    bounds = stats.ttest_ind(theirs, ours, equal_var=False).confidence_interval(0.95)
    assert (row.ratio.low, row.ratio.high) == pytest.approx((np.exp(bounds.low), np.exp(bounds.high)), rel=1e-9)
    assert row.ratio.value == pytest.approx(1.5)
    assert (row.word, row.blocks) == ("faster", (5, 5))
    assert found.speed is not None
    assert (found.speed.load, found.speed.word) == ("all loads", "faster")
    assert found.sentence.startswith("Q8_0: accuracy 0.0 pp (95% CI -")


def test_what_moved_with_the_common_baseline_is_no_finding(plain: StoredRun) -> None:
    everything = in_memory(faster(synthetic.cells(), 1.5), "b")
    found = one(compare(plain, everything), "Q8_0").speed
    assert found is not None
    assert found.moved.value == pytest.approx(1.5)
    assert (found.word, found.reason) == (
        "inconclusive", "not without what moved: the runs' common baseline differs by 1.50x")
    assert found.adjusted.value == pytest.approx(1.0)
    again = one(compare(plain, everything), "F16").speed
    assert again is not None
    assert (again.word, again.moved.reason) == ("faster", "this is the runs' common baseline itself")


def change_spec(**changes: Any) -> Callable[[], StoredRun]:
    return lambda: in_memory(synthetic.cells(), "b", changes=changes)


def change_document(**changes: Any) -> Callable[[], StoredRun]:
    return lambda: in_memory(synthetic.cells(), "b", **changes)


def other_prompts() -> StoredRun:
    cells = synthetic.cells()
    for cell in cells:
        if cell.record["key"]["kind"] == "load":
            cell.record["result"]["prompts_sha256"] = "b" * 64
    return in_memory(cells, "b")


def with_prompts() -> StoredRun:
    cells = synthetic.cells()
    for cell in cells:
        if cell.record["key"]["kind"] == "load":
            cell.record["result"]["prompts_sha256"] = "a" * 64
    return in_memory(cells)


LOAD: dict[str, Any] = {"workloads": {"short": {"prompt_tokens": 32, "output_tokens": 32}}, "concurrency": [1, 8]}
SUITES = [*synthetic.TASKS, *synthetic.CORPORA]

SPEED = {
    "hardware": change_document(hardware_id="feedfeedfeedfeed"),
    "GPUs": change_document(environment={**synthetic.ENVIRONMENT, "gpus": [{"name": "H100"}]}),
    "engine.threads": change_spec(engine={"kind": "llama.cpp", "threads": 7}),
    "load.requests": change_spec(load={**LOAD, "requests": 99}),
    "load.warmup_requests": change_spec(load={**LOAD, "warmup_requests": 9}),
    "load.workloads.short": change_spec(
        load={**LOAD, "workloads": {"short": {"prompt_tokens": 32, "output_tokens": 31}}}),
    "seed": change_spec(seed=5),
}
EVERYTHING = {
    "harness": change_document(harness=2),
    "engine version": change_document(
        environment={**synthetic.ENVIRONMENT, "packages": {"xllamacpp": "1"}}),
    "engine": change_spec(engine={"kind": "fake"}, quality=None),
}


@pytest.mark.parametrize("what", SPEED)
def test_what_concerns_speed_alone_leaves_quality(plain: StoredRun, what: str) -> None:
    found = compare(plain, SPEED[what]())
    assert what in [row.what for row in found.differences]
    row = one(found, "Q8_0")
    assert row.speed is not None
    assert (row.speed.word, row.speed.ratio.value) == ("not comparable", None)
    assert what in (row.speed.reason or "")
    assert row.quality.word == "safe"


@pytest.mark.parametrize("what", EVERYTHING)
def test_what_concerns_everything_is_refused_by_name(plain: StoredRun, what: str) -> None:
    other = EVERYTHING[what]()
    with pytest.raises(SpecError, match=f"are not comparable: .*{what} \\(") as error:
        compare(plain, other)
    assert "--force" in str(error.value)
    assert "\n" not in str(error.value)
    forced = compare(plain, other, force=True)
    row = one(forced, "Q8_0")
    assert row.speed is not None
    assert row.speed.word is None
    assert row.speed.ratio.value == pytest.approx(1.0)
    assert {task.word for task in row.tasks} | {row.quality.word} == {None}
    assert all(task.delta.value == 0.0 and task.p_safe is None for task in row.tasks)


def test_unlike_models_and_harnesses_before_they_had_numbers(plain: StoredRun) -> None:
    artifacts = {name: {**recipe, "source": {"sha256": "6" * 64}} for name, recipe in synthetic.artifacts().items()}
    with pytest.raises(SpecError, match=r"model of Q8_0 \(555555555555 / 666666666666\)"):
        compare(plain, in_memory(synthetic.cells(), "b", artifacts=artifacts), variants=("Q8_0", None))
    old = in_memory(synthetic.cells(), harness=None), in_memory(synthetic.cells(), "b", harness=None)
    assert compare(*old).differences == []
    with pytest.raises(SpecError, match=r"harness \(quantcheck 0.1.0 / 3\)"):
        compare(old[0], in_memory(synthetic.cells(), "b"))


def test_unlike_prompts_are_named() -> None:
    found = compare(with_prompts(), other_prompts())
    assert [row.what for row in found.differences] == ["prompts of short@c1", "prompts of short@c8"]
    assert one(found, "Q2_K").quality.word == "safe"


@pytest.mark.parametrize(("changes", "what", "kept"), [
    ({"suites": SUITES, "context": 256, "stride": 128}, {"quality.context", "quality.stride"}, "tasks"),
    ({"suites": SUITES, "sampling": {"draws": 2}}, {"quality.sampling"}, "corpora"),
])
def test_a_quality_setting_concerns_its_own_kind(
    plain: StoredRun, changes: dict[str, Any], what: set[str], kept: str
) -> None:
    row = (found := compare(plain, in_memory(synthetic.cells(), "b", changes={"quality": changes}))).variants[1]
    assert {difference.what for difference in found.differences} == what
    words = {"tasks": {task.word for task in row.tasks}, "corpora": {corpus.word for corpus in row.corpora}}
    assert words.pop(kept) == {"safe"}
    assert words.popitem()[1] == {"not comparable"}


def test_other_items_of_one_task_concern_that_task() -> None:
    cells = synthetic.cells()
    for cell in cells:
        if cell.record["key"]["subject"] == "reference/arithmetic":
            cell.record["result"]["suite_sha256"] = "7" * 64
    row = one(compare(in_memory(synthetic.cells()), in_memory(cells, "b")), "Q8_0")
    words = {task.task: (task.word, task.reason) for task in row.tasks}
    assert words.pop("reference/arithmetic") == ("not comparable", "not the same work: suite differ")
    assert {word for word, _ in words.values()} == {"safe"}
    assert row.quality.word == "inconclusive"


def test_a_task_that_ended_early_has_no_word_as_the_baseline() -> None:
    cells = synthetic.cells()
    for cell in cells:
        if cell.record["key"]["subject"] == "reference/format" and cell.record["key"]["variant"] == "Q8_0":
            cell.record["result"]["early"] = {"order_seed": 0}
    row = one(compare(in_memory(cells), in_memory(synthetic.cells(), "b"), variants=("Q8_0", "Q8_0")), "Q8_0")
    ended = next(task for task in row.tasks if task.task == "reference/format")
    assert ended.word is None
    assert ended.p is None
    assert "ended this task early" in (ended.reason or "")


def test_names_that_are_not_there(plain: StoredRun) -> None:
    other = in_memory(synthetic.cells(), "b")
    with pytest.raises(SpecError, match="b: has no variant 'Q5'; it has F16, Q8_0, Q4_K_M, Q2_K"):
        compare(plain, other, variants=("F16", "Q5"))
    only = in_memory([cell for cell in synthetic.cells() if cell.record["key"]["kind"] == "load"], "c",
                     changes={"quality": None, "load": {**LOAD, "workloads": {"other": LOAD["workloads"]["short"]}}})
    quality = in_memory(synthetic.cells(load=False), changes={"load": None})
    lone = StoredRun(only.store, only.document, only.experiment, ())
    with pytest.raises(SpecError, match="no load, task or corpus in common"):
        compare(quality, lone)


def test_notes_tell_unlike_margins_and_what_only_one_has(plain: StoredRun) -> None:
    cells = [cell for cell in synthetic.cells() if cell.record["key"]["subject"] != "reference/format"]
    other = in_memory(cells, "b", changes={
        "policy": {"margin": {"accuracy_pp": 3}},
        "quality": {"suites": [suite for suite in SUITES if suite != "reference/format"]}})
    found = compare(plain, other)
    assert found.notes == ["the two runs have unlike margins; those of run A are used", "only in a: reference/format"]
    assert found.margin["accuracy_pp"] == 1.0


def test_renderings_hold_words_differences_and_fit(plain: StoredRun) -> None:
    found = compare(plain, SPEED["hardware"]())
    text = as_text(found, io.StringIO(), width=100)
    assert max(map(len, text.splitlines())) <= 100
    assert "! hardware differs, so no speed is comparable: A " in " ".join(text.split())
    assert text.isascii()
    page = as_markdown(found)
    assert "## Tasks" in page
    assert "not comparable: hardware differ" in page
    assert RunComparison.model_validate_json(found.model_dump_json()) == found


def test_nothing_of_a_run_is_changed(plain: StoredRun) -> None:
    before = copy.deepcopy([cell.record for cell in plain.cells])
    compare(plain, in_memory(synthetic.cells(), "b"))
    assert [cell.record for cell in plain.cells] == before
