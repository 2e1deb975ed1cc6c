"""The view model: right figures, traceable words, and every hole explained."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from quantcheck.report.not_measured import NOT_COUNTED
from quantcheck.report.summary import Summary, TaskRow, VariantRow
from quantcheck.report.view import build_summary, summary_schema
from quantcheck.stats import compare_items, mcnemar_p
from quantcheck.store import CellKey, Store
from tests.report import synthetic
from tests.report.synthetic import FakeCell

ARITHMETIC = "reference/arithmetic"


def build(cells: list[FakeCell], problems: Any = (), **changes: Any) -> Summary:
    return build_summary(
        synthetic.experiment(**changes), cells, synthetic.artifacts(), synthetic.ENVIRONMENT, problems
    )


def of(cell: FakeCell, **where: Any) -> bool:
    return all(cell.record["key"][name] == value for name, value in where.items())


def variant(summary: Summary, name: str) -> VariantRow:
    return next(row for row in summary.variants if row.name == name)


def task(summary: Summary, name: str, of_task: str = ARITHMETIC) -> TaskRow:
    return next(row for row in summary.quality if row.variant == name and row.task == of_task)


def resolve(document: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        document = document[int(part) if isinstance(document, list) else part]
    return document


SCENARIOS: dict[str, Summary] = {
    "whole": build(synthetic.cells()),
    "one variant failed": build(
        [c for c in synthetic.cells() if not of(c, variant="Q4_K_M")],
        [{"variant": "Q4_K_M", "reason": "engine never became healthy in 120 s"}],
    ),
    "baseline failed": build([c for c in synthetic.cells() if not of(c, variant="F16")]),
    "on a GPU": build(synthetic.on_gpu(synthetic.cells())),
    "no load": build(synthetic.cells(load=False), load=None),
    "no quality": build(synthetic.cells(quality=False), quality=None),
    "one block": build(synthetic.cells(1), blocks=1),
    "no noise floor": build([c for c in synthetic.cells() if not of(c, variant=synthetic.AGAIN)], noise_floor=False),
    "perplexity alone": build(
        [c for c in synthetic.cells(load=False) if c.record["result"]["kind"] == "perplexity"],
        load=None, quality={"suites": [*synthetic.CORPORA]},
    ),
    "nothing stored": build_summary(synthetic.experiment(), [], {}, {}, []),
    "baseline alone": build(
        [c for c in synthetic.cells() if of(c, variant="F16")], variants={"F16": {"scheme": "gguf/F16"}}
    ),
}  # fmt: skip


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(summary_schema())


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_summary_fits_its_schema_and_comes_back(name: str) -> None:
    text = SCENARIOS[name].model_dump_json()
    jsonschema.Draft202012Validator(summary_schema()).validate(json.loads(text))
    assert Summary.model_validate_json(text) == SCENARIOS[name]
    assert "NaN" not in text


def test_the_schema_refuses_what_is_not_a_summary() -> None:
    document = json.loads(SCENARIOS["whole"].model_dump_json())
    document["variants"][0]["speed"]["word"] = "blazing"
    with pytest.raises(jsonschema.ValidationError, match="blazing"):
        jsonschema.Draft202012Validator(summary_schema()).validate(document)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_headline_is_its_clauses_and_each_points_at_a_figure(name: str) -> None:
    summary = SCENARIOS[name]
    document = json.loads(summary.model_dump_json())
    for clause in summary.headline.clauses:
        assert clause.text in summary.headline.sentence
        found = resolve(document, clause.source)
        assert found not in (None, {}, [])
        assert not isinstance(found, dict) or found["value"] is not None
        if clause.variant is not None:
            assert resolve(document, "/".join(clause.source.split("/")[:3]))["name"] == clause.variant
    assert summary.headline.sentence.endswith(".")


def test_the_sentence_can_be_acted_on() -> None:
    summary = SCENARIOS["whole"]
    assert summary.headline.sentence == (
        "Q4_K_M is safe (accuracy -0.2 pp, 95% CI -0.4 to +0.1), 2.9x smaller, 1.44x faster over 2 loads; "
        "Q8_0 is safe too; Q2_K is harmed on arithmetic and format."
    )
    speed = summary.variants[2].speed.ratio
    assert speed.low is not None
    assert speed.low > 1.4  # so one decimal would have named a ratio outside the interval
    assert summary.recommendation.variant == "Q4_K_M"
    assert summary.recommendation.sentence == (
        "Use Q4_K_M: the smallest variant that is safe on every task, and faster."
    )


def test_one_load_names_its_streams() -> None:
    cells = [c for c in synthetic.cells() if not of(c, subject="short@c1")]
    load = {"workloads": {"short": {"prompt_tokens": 32, "output_tokens": 32}}, "concurrency": [8]}
    assert "1.44x faster at 8 streams" in build(cells, load=load).headline.sentence


def test_baseline_comes_first_and_its_twin_is_no_variant() -> None:
    variants = {name: {"scheme": f"gguf/{name}"} for name in ("Q2_K", "Q8_0", "F16")}
    names = [row.name for row in build(synthetic.cells(), variants=variants).variants]
    assert names == ["F16", "Q2_K", "Q8_0"]


def test_figures_are_those_of_the_cells() -> None:
    summary = SCENARIOS["whole"]
    base, ours = (synthetic.task_cell(name, ARITHMETIC).tables["items"]["right"] for name in ("F16", "Q2_K"))
    row, wanted = task(summary, "Q2_K"), compare_items(base, ours, margin=0.01)
    assert (row.n, row.lost, row.gained) == (1_500, int(np.sum(base & ~ours)), int(np.sum(~base & ours)))
    assert row.accuracy.value == pytest.approx(ours.mean())
    assert row.delta.value == pytest.approx(ours.mean() - base.mean())
    assert (row.delta.low, row.delta.high) == (wanted.low, wanted.high)
    assert row.p == mcnemar_p(row.lost, row.gained)
    speed = next(r for r in summary.speed if (r.load, r.metric, r.variant) == ("short@c8", "ttft", "Q8_0"))
    logs = []
    for block in range(synthetic.BLOCKS):
        cells = [synthetic.load_cell(name, "short@c8", block) for name in ("Q8_0", "F16", synthetic.AGAIN)]
        ours, *baseline = (np.log(cell.record["result"]["metrics"]["ttft"]) for cell in cells)
        logs.append(ours - np.mean(baseline))
    assert speed.ratio.value == pytest.approx(np.exp(np.mean(logs)))
    assert (speed.word, speed.blocks) == ("faster", 5)
    assert variant(summary, "Q8_0").size.ratio.value == pytest.approx(8_210_000 / 15_400_000)
    corpus = next(r for r in summary.corpora if r.variant == "Q2_K")
    table = synthetic.corpus_cell("Q2_K", corpus.corpus).tables["tokens"]
    assert corpus.perplexity.value == pytest.approx(np.exp(table["nll"].mean()))
    assert corpus.kl_divergence.value == pytest.approx(table["kl"].mean())


def test_items_pair_by_id_in_any_order() -> None:
    shuffled = synthetic.task_cell("Q2_K", ARITHMETIC)
    order = np.random.RandomState(0).permutation(synthetic.ITEMS)
    shuffled.tables["items"] = {name: column[order] for name, column in shuffled.tables["items"].items()}
    cells = [c for c in synthetic.cells() if not of(c, variant="Q2_K", subject=ARITHMETIC)] + [shuffled]
    assert build(cells).quality == SCENARIOS["whole"].quality


@pytest.mark.parametrize("fault", ["items", "hash"])
def test_other_work_is_not_comparable(fault: str) -> None:
    cells = [c for c in synthetic.cells() if not of(c, variant="Q8_0", subject=ARITHMETIC)]
    other = synthetic.task_cell("Q8_0", ARITHMETIC, items=100 if fault == "items" else synthetic.ITEMS)
    if fault == "hash":
        other.record["result"]["suite_sha256"] = "6" * 64
    summary = build([*cells, other])
    row = task(summary, "Q8_0")
    assert row.word == "not comparable"
    assert row.delta.value is None
    assert row.reason == {
        "items": "the two were not asked the same items", "hash": "not the same work: suite differ"
    }[fault]  # fmt: skip
    assert variant(summary, "Q8_0").quality.word == "inconclusive"
    assert summary.recommendation.variant == "Q4_K_M"


def test_other_tokens_are_not_comparable() -> None:
    corpus = "reference/stories"
    cells = [c for c in synthetic.cells() if not of(c, variant="Q8_0", subject=corpus)]
    row = next(
        r for r in build([*cells, synthetic.corpus_cell("Q8_0", corpus, documents=39)]).corpora
        if r.variant == "Q8_0" and r.corpus == corpus
    )  # fmt: skip
    assert (row.word, row.reason) == ("not comparable", "the two were not scored on the same tokens")
    assert row.perplexity.value is not None
    assert row.ratio.value is None


def test_a_failed_variant_is_missing_with_its_reason() -> None:
    summary = SCENARIOS["one variant failed"]
    row, reason = variant(summary, "Q4_K_M"), "engine never became healthy in 120 s"
    assert (row.quality.word, row.speed.word) == (None, None)
    assert (row.quality.reason, row.speed.reason, row.perplexity_ratio.reason) == (reason, reason, reason)
    assert row.size.bytes.value == 5_300_000
    told = [(n.what, n.reason) for n in summary.not_measured if n.what != "roofline"]
    assert told == [("Q4_K_M: everything", reason)]
    assert summary.recommendation.variant == "Q8_0"
    assert f"Q4_K_M: quality n/a ({reason})" in summary.headline.sentence


def test_without_a_baseline_nothing_is_recommended() -> None:
    summary = SCENARIOS["baseline failed"]
    assert summary.recommendation.sentence == (
        "No recommendation: no variant could be compared with F16 (baseline: no result stored)."
    )
    assert {row.speed.reason for row in summary.variants[1:]} == {"no block holds both this variant and the baseline"}


def test_stored_cells_give_the_same_summary(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.lock()
    try:
        for cell in synthetic.cells(2):
            store.write(CellKey(**cell.record["key"]), {"result": cell.record["result"]}, cell.tables)
        stored = build_summary(
            synthetic.experiment(blocks=2), store.cells(), synthetic.artifacts(), synthetic.ENVIRONMENT, []
        )
    finally:
        store.unlock()
    assert stored == build(synthetic.cells(2), blocks=2)


def test_warm_up_and_tail_requests_are_not_counted() -> None:
    cells = synthetic.cells()
    for cell in cells:
        if of(cell, kind="load"):
            table = cell.tables["requests"]
            extra = {name: column[:3] for name, column in table.items()}
            extra["outcome"] = np.array(["ok", "ok", "cancelled"])
            cell.tables["requests"] = {name: np.concatenate([table[name], extra[name]]) for name in table}
            cell.tables["requests"]["phase"] = np.array(["measured"] * 40 + ["warmup", "warmup", "tail"])
    assert build(cells) == SCENARIOS["whole"]


@pytest.mark.parametrize(("more", "reason"), [
    ({}, "no weight files"),
    ({"made": {"quant_method": "bitsandbytes"}}, NOT_COUNTED),
])
def test_an_engine_without_weights_has_no_size(more: dict[str, Any], reason: str) -> None:
    empty = {name: {"scheme": "none", "bytes": 0, "bits_per_weight": 0.0, "sha256": "", **more}
             for name in synthetic.TRUTH}
    cells = synthetic.cells(2)
    for cell in cells:
        if of(cell, kind="load"):
            cell.record["result"]["memory"] = {"rss_bytes": 5e7, "weights_bytes": 0, "kv_cache_bytes": None}
    summary = build_summary(synthetic.experiment(blocks=2), cells, empty, {}, [])
    for row in summary.variants:
        assert (row.size.bytes.reason, row.size.bits_per_weight.reason) == (reason, reason)
        assert (row.size.ratio.value, row.size.ratio.reason) == (None, reason)
    first = summary.memory[0]
    assert (first.weights_bytes.value, first.kv_cache_bytes.reason) == (None, "the engine does not tell")
    assert first.rss_bytes.value == 5e7


def test_a_missing_task_forbids_safe() -> None:
    cells = [c for c in synthetic.cells() if not of(c, variant="Q4_K_M", subject="reference/format")]
    summary = build(cells, [{"variant": "Q4_K_M", "subject": "reference/format", "reason": "stopped by the user"}])
    assert variant(summary, "Q4_K_M").quality.word == "inconclusive"
    assert "Q4_K_M is inconclusive on format (stopped by the user)" in summary.headline.sentence
    assert summary.recommendation.variant == "Q8_0"


def test_items_cannot_settle_a_task_that_is_missing() -> None:
    cells = [c for c in synthetic.cells() if not of(c, variant="Q4_K_M", subject="reference/format")]
    cells = [c for c in cells if not of(c, subject=ARITHMETIC)]
    cells += [synthetic.task_cell(name, ARITHMETIC, items=300) for name in synthetic.TRUTH]
    summary = build(cells)
    assert task(summary, "Q4_K_M").more_items is not None
    assert variant(summary, "Q4_K_M").quality.more_items is None
    assert variant(summary, "Q4_K_M").quality.undecided == [ARITHMETIC, "reference/format"]


def test_the_verdict_row_takes_the_worst_corpus_and_the_largest_memory() -> None:
    summary = SCENARIOS["whole"]
    for row in summary.variants[1:]:
        own = [r for r in summary.corpora if r.variant == row.name]
        assert row.perplexity_ratio.value == max(r.ratio.value or 0 for r in own)
        assert row.kl_divergence.value == max(r.kl_divergence.value or 0 for r in own)
        assert row.top1_agreement.value == min(r.top1_agreement.value or 0 for r in own)
    memory = next(row for row in summary.memory if row.variant == "Q8_0")
    assert memory.rss_bytes.value == 8_210_000 + 90e6 + 1e4 * (synthetic.BLOCKS - 1)
    assert memory.ready_s.value == pytest.approx(0.23)


def test_missing_blocks_are_counted_and_other_blocks_still_compare() -> None:
    cells = [c for c in synthetic.cells() if not (of(c, kind="load", variant="Q8_0") and c.record["key"]["block"] > 2)]
    summary = build(cells)
    assert variant(summary, "Q8_0").speed.blocks == 3
    told = [(row.what, row.reason) for row in summary.not_measured]
    assert ("Q8_0: 2 of 5 blocks of every load", "no result stored") in told


def test_without_load_or_quality_nothing_is_made_up() -> None:
    summary = SCENARIOS["no load"]
    assert {row.speed.reason for row in summary.variants} == {"no load in the experiment"}
    assert (summary.speed, summary.loads) == ([], [])
    assert {row.rss_bytes.reason for row in summary.memory} == {"no load in the experiment"}
    assert [row.weights_bytes.value for row in summary.memory] == [t["bytes"] for t in synthetic.TRUTH.values()]
    assert summary.recommendation.sentence.endswith("speed was not measured.")
    summary = SCENARIOS["no quality"]
    assert summary.recommendation.variant is None
    assert summary.headline.sentence.endswith("quality n/a (no quality in the experiment).")


def test_perplexity_alone_gives_the_word() -> None:
    summary = SCENARIOS["perplexity alone"]
    assert [row.quality.word for row in summary.variants] == [None, "safe", "safe", "harmed"]
    assert {row.quality.basis for row in summary.variants[1:]} == {"perplexity"}
    assert summary.recommendation.sentence == (
        "Use Q4_K_M: the smallest variant that is safe on perplexity; speed was not measured."
    )


def test_one_block_has_ratios_but_no_intervals() -> None:
    summary = SCENARIOS["one block"]
    row = variant(summary, "Q8_0").speed
    assert (row.word, row.ratio.low, row.ratio.reason) == (
        "inconclusive", None, "1 block: an interval needs at least 2",
    )  # fmt: skip
    assert row.ratio.value is not None
    assert [row.key for row in summary.warnings] == ["few_blocks"]


def slower(cells: list[FakeCell], name: str) -> list[FakeCell]:
    for cell in cells:
        if of(cell, kind="load", variant=name):
            cell.record["result"]["metrics"]["output_throughput"] /= 3
    return cells


def test_slower_is_not_recommended() -> None:
    assert build(slower(synthetic.cells(), "Q4_K_M")).recommendation.variant == "Q8_0"
    both = build(slower(slower(synthetic.cells(), "Q4_K_M"), "Q8_0")).recommendation
    assert both.variant is None
    assert both.sentence == "Keep F16 for speed: Q8_0 and Q4_K_M are safe and smaller, but slower."


def test_when_nothing_is_shown_safe_it_says_so_and_what_would_help() -> None:
    cells = [c for c in synthetic.cells() if of(c, kind="load")]
    cells += [synthetic.task_cell(name, t, items=300) for name in synthetic.TRUTH for t in synthetic.TASKS]
    summary = build(cells)
    assert summary.recommendation.variant is None
    assert summary.recommendation.sentence.startswith("Keep F16: no smaller variant is shown to be safe on every task.")
    assert "more items a task would settle" in summary.recommendation.sentence
    assert "more items)" in summary.headline.sentence


def test_noise_floor_is_told_and_holds_back_findings() -> None:
    rows = SCENARIOS["whole"].noise_floor
    assert [(r.kind, r.subject) for r in rows[:3]] == [
        ("speed", "short@c1"), ("speed", "short@c8"), ("speed", "all loads"),
    ]  # fmt: skip
    assert [(r.lost, r.gained, r.n) for r in rows if r.kind == "task"] == [(0, 0, 1_500)] * 4
    assert [r.kl_divergence.value for r in rows if r.kl_divergence] == [0.0, 0.0]
    cells = synthetic.cells()
    for cell in cells:  # the baseline runs three times as fast the second time
        if of(cell, kind="load", variant=synthetic.AGAIN):
            cell.record["result"]["metrics"]["output_throughput"] *= 3
    summary = build(cells)
    assert {row.speed.word for row in summary.variants[1:]} == {"inconclusive"}
    assert [row.key for row in summary.warnings] == ["baseline_moved"]
    assert SCENARIOS["no noise floor"].noise_floor == []


def test_failed_requests_are_warned_of_and_count_in_no_latency() -> None:
    cells = [c for c in synthetic.cells() if not of(c, kind="load", variant="Q8_0", subject="short@c8", block=0)]
    cells.append(synthetic.load_cell("Q8_0", "short@c8", 0, failed=7))
    summary = build(cells)
    assert [row.text for row in summary.warnings] == [
        "Q8_0 at short@c8: 7 of 200 requests failed; they count in no latency",
    ]
    row = next(r for r in summary.loads if (r.variant, r.load) == ("Q8_0", "short@c8"))
    assert (row.requests, row.failed) == (200, 7)


def test_percentiles_are_refused_when_unsupported() -> None:
    row = SCENARIOS["whole"].loads[0]
    found = {(p.metric, p.percentile): p.value for p in row.percentiles}
    assert found["ttft", "p99"].reason == "200 requests; p99 needs 662"
    tables = [synthetic.load_cell("F16", "short@c1", block).tables["requests"] for block in range(synthetic.BLOCKS)]
    ttft = np.concatenate([t["first_s"] - t["sent_s"] for t in tables])
    assert found["ttft", "p90"].value == pytest.approx(np.quantile(ttft, 0.9))


def test_problems_that_explain_no_hole_are_told_all_the_same() -> None:
    problems = ["the machine slept", {"variant": "Q8_0", "block": 2, "reason": "odd"}]
    told = [n for n in build(synthetic.cells(), problems).not_measured if n.what != "roofline"]
    assert [(n.what, n.reason) for n in told] == [("run", "the machine slept"), ("Q8_0, block 3", "odd")]
