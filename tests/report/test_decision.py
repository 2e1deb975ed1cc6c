"""The policy's conditions, the decision and the recommendation; every clause leads to what it states."""

import json
from typing import Any

import pytest

from quantcheck.report.conditions import conditions
from quantcheck.report.decision import decision_grid, decision_rows, recommend
from quantcheck.report.headline import Facts
from quantcheck.report.summary import CapacityRow, Condition, DecisionRow, Figure, Summary
from quantcheck.report.view import build_summary
from quantcheck.spec.load import SLO
from quantcheck.spec.policy import Policy
from tests.report import synthetic
from tests.report.synthetic import FakeCell

PRICE = {"gpu_hour_usd": 3.5}
CELLS = synthetic.cells()


def build(policy: dict[str, Any], cells: list[FakeCell] | None = None, **changes: Any) -> Summary:
    cells = CELLS if cells is None else cells
    experiment = synthetic.experiment(policy=policy, **changes)
    return build_summary(experiment, cells, synthetic.artifacts(), synthetic.ENVIRONMENT, [])


def decision(summary: Summary, name: str) -> DecisionRow:
    return next(row for row in summary.decisions if row.variant == name)


def condition(summary: Summary, name: str, key: str) -> Condition:
    return next(c for c in decision(summary, name).conditions if c.key == key)


def resolve(document: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        document = document[int(part) if isinstance(document, list) else part]
    return document


PLAIN = build({})
SUMMARIES = {
    "plain": PLAIN,
    "everything": build({"memory_gb": 0.08, "minimum_speedup": 1.35, "price": PRICE, "slo": {"ttft_ms": 100}}),
    "dear": build({"price": PRICE, "maximum_usd": 0.2}),
    "no load": build({"memory_gb": 0.01, "minimum_speedup": 1.1, "slo": {"ttft_ms": 1}, "price": PRICE},
                     synthetic.cells(load=False), load=None),
    "no quality": build({"memory_gb": 1}, synthetic.cells(quality=False), quality=None),
    "perplexity alone": build(
        {}, [c for c in synthetic.cells(load=False) if c.record["result"]["kind"] == "perplexity"],
        load=None, quality={"suites": [*synthetic.CORPORA]},
    ),
    "one block": build({"minimum_speedup": 1.1, "slo": {"ttft_ms": 100}, "price": PRICE}, synthetic.cells(1), blocks=1),
    "nothing stored": build({"price": PRICE, "memory_gb": 1, "slo": {"ttft_ms": 1}}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_clause_and_condition_points_at_what_it_states(name: str) -> None:
    summary = SUMMARIES[name]
    document = json.loads(summary.model_dump_json())
    assert [row.variant for row in summary.decisions] == [row.name for row in summary.variants[1:]]
    for row in summary.decisions:
        assert row.sentence == "".join(clause.text for clause in row.clauses) + "."
        for clause in row.clauses:
            assert resolve(document, clause.source) not in (None, {}, [])
        for asked in row.conditions:
            found = resolve(document, asked.source)
            assert found is not None
            if isinstance(found, dict) and asked.state != "open":
                assert found["value"] is not None
        states = {asked.state for asked in row.conditions}
        assert row.word == ("do not ship" if "not met" in states else "inconclusive" if "open" in states else "ship")


def test_without_a_policy_quality_and_speed_decide() -> None:
    assert {row.variant: row.word for row in PLAIN.decisions} == {
        "Q8_0": "ship", "Q4_K_M": "ship", "Q2_K": "do not ship",
    }  # fmt: skip
    keys = [c.key for c in decision(PLAIN, "Q8_0").conditions]
    assert keys == [*(f"quality:{task}" for task in synthetic.TASKS), "speed"]
    assert PLAIN.recommendation.sentence == "Use Q4_K_M: the smallest variant that is safe on every task, and faster."
    assert decision_grid(PLAIN).rows == []


def test_the_margin_of_a_task_decides_that_task() -> None:
    tight = condition(build({"margin": {"tasks": {"reference/format": 0.1}}}), "Q4_K_M", "quality:reference/format")
    assert tight.asks == "loss of accuracy below 0.1 pp"
    assert tight.state == "open"
    wide = condition(build({"margin": {"tasks": {"reference/format": 20}}}), "Q2_K", "quality:reference/format")
    assert wide.state == "met"


@pytest.mark.parametrize(("least", "state"), [(1.2, "met"), (1.44, "open"), (1.6, "not met")])
def test_the_least_speedup_is_held_against_the_whole_interval(least: float, state: str) -> None:
    summary = build({"minimum_speedup": least})
    ratio = summary.variants[2].speed.ratio
    assert ratio.low is not None
    assert ratio.high is not None
    assert (ratio.low >= least, ratio.high < least) == (state == "met", state == "not met")
    assert condition(summary, "Q4_K_M", "speed").state == state


def test_memory_is_what_the_process_takes() -> None:
    # Proportional memory of F16, Q8_0, Q4_K_M, Q2_K: 85.4, 78.2, 75.3 and 73.1 MB.
    summary = build({"memory_gb": 0.076})
    assert [condition(summary, v, "memory").state for v in ("Q8_0", "Q4_K_M")] == ["not met", "met"]
    assert condition(summary, "Q8_0", "memory").found == "0.0782 GB proportional under load"
    assert decision(summary, "Q8_0").sentence.endswith(
        ": do not ship (memory not met: 0.0782 GB proportional under load)."
    )
    assert summary.recommendation.sentence == (
        "Use Q4_K_M: the smallest variant that is safe on every task and within the policy, and faster."
    )


@pytest.mark.parametrize(("budget", "state"), [(0.01, "open"), (0.005, "not met")])
def test_weight_files_alone_can_refuse_but_not_satisfy(budget: float, state: str) -> None:
    summary = build({"memory_gb": budget}, synthetic.cells(load=False), load=None)
    asked = condition(summary, "Q4_K_M", "memory")
    assert (asked.state, asked.source) == (state, "/memory/2/weights_bytes")


def gpu_build(budget: float, **engine: Any) -> Summary:
    """On a GPU of 80 GB with 72.5 in use; Q4_K_M takes 5.3 GB of weights, 3.5 of other and 0.03 of keys and values."""
    cells = synthetic.on_gpu(synthetic.cells(), engine.pop("gpus", 1))
    for cell in cells:
        if cell.record["key"]["kind"] == "load":
            cell.record["result"]["engine"] |= engine
    return build({"memory_gb": budget}, cells)


@pytest.mark.parametrize(("budget", "state"), [(8.9, "met"), (8.8, "not met")])
def test_on_a_gpu_the_footprint_counts_and_not_the_reserved_cache(budget: float, state: str) -> None:
    asked = condition(gpu_build(budget), "Q4_K_M", "memory")
    assert (asked.state, asked.source) == (state, "/gpu_memory/2/gpu_footprint_bytes")
    assert asked.found == "8.83 GB of GPU memory, with the KV cache that the measured load needs"


@pytest.mark.parametrize(("budget", "state", "key", "found"), [
    (73.0, "met", "gpu_used_bytes", "72.5 GB of GPU memory, all that is in use"),
    (20.0, "open", "gpu_used_bytes", "72.5 GB of GPU memory, all that is in use; what it needs of that is not known: "
                                     "the engine does not tell how many tokens its KV cache holds"),
    (5.0, "not met", "gpu_weights_bytes", "5.3 GB of GPU memory, the weights alone"),
])
def test_without_a_footprint_it_must_lie_between_the_weights_and_what_is_in_use(
    budget: float, state: str, key: str, found: str
) -> None:
    asked = condition(gpu_build(budget, kv_cache_tokens=None), "Q4_K_M", "memory")
    assert (asked.state, asked.source, asked.found) == (state, f"/gpu_memory/2/{key}", found)


def test_two_gpus_are_held_against_the_budget_together() -> None:
    asked = condition(gpu_build(20.0, gpus=2), "Q4_K_M", "memory")
    assert asked.state == "met"
    assert "GB of memory on 2 GPUs together" in asked.found


def test_a_baseline_that_misses_the_policy_is_not_recommended() -> None:
    summary = build({"memory_gb": 0.01})
    assert summary.recommendation.variant is None
    assert summary.recommendation.sentence.startswith(
        "No recommendation (F16 itself does not meet the policy: memory 0.0854 GB proportional under load): Q8_0 and "
        "Q4_K_M are safe and smaller, but not within the policy (memory: "
    )


def test_what_is_open_is_said_in_the_recommendation() -> None:
    summary = build({"minimum_speedup": 1.44}, [c for c in CELLS if c.record["key"]["variant"] != "Q8_0"])
    assert summary.recommendation.sentence.startswith("No recommendation yet: Q4_K_M is safe and smaller; speed is ")


def test_cost_is_held_against_the_whole_interval() -> None:
    costs = {row.variant: row.output for row in SUMMARIES["dear"].costs}
    for most in (0.2, 0.3565, 0.5):
        summary = build({"price": PRICE, "maximum_usd": most})
        for name in ("Q8_0", "Q4_K_M"):
            low, high = costs[name].low, costs[name].high
            assert low is not None
            assert high is not None
            state = "met" if high <= most else "not met" if low > most else "open"
            assert condition(summary, name, "cost:short").state == state
    assert {condition(build({"price": PRICE, "maximum_usd": m}), "Q4_K_M", "cost:short").state
            for m in (0.2, 0.3565, 0.5)} == {"met", "not met", "open"}  # fmt: skip


def test_with_a_price_the_cheapest_is_recommended_and_a_dearer_one_does_not_ship() -> None:
    price = {"gpu_hour_usd": 3.5, "gpus": {"Q4_K_M": 2}}
    summary = build({"price": price})
    assert summary.recommendation.sentence == (
        "Use Q8_0: the cheapest variant that is safe on every task and within the policy, and faster."
    )
    assert condition(summary, "Q4_K_M", "cost:short").found.startswith("dearer: ")
    assert decision(summary, "Q4_K_M").word == "do not ship"


def test_the_price_is_an_assumption_wherever_a_cost_is_told() -> None:
    summary = SUMMARIES["dear"]
    for row in summary.decisions:
        assert "at an assumed $3.50 an hour" in row.sentence
        assert "at an assumed $3.50 an hour" in next(c.found for c in row.conditions if c.key == "cost:short")


def capacity(low: float | None, high: float | None, **changes: Any) -> CapacityRow:
    fields: dict[str, Any] = {
        "workload": "short", "variant": "Q8_0", "unit": "streams", "highest": Figure(value=4.0, low=low, high=high),
        "bound": "exact", "ratio": Figure(reason="-"), "word": None, "output_throughput": Figure(reason="-"),
        "input_throughput": Figure(reason="-"), "blocks": 5,
    }  # fmt: skip
    return CapacityRow(**{**fields, **changes})


@pytest.mark.parametrize(("row", "state"), [
    (capacity(3.0, 5.0), "met"),
    (capacity(0.5, 5.0), "open"),
    (capacity(None, None, bound="at least"), "met"),
    (capacity(None, None, bound="at least", blocks_below=1), "open"),
    (capacity(None, None), "met"),
    (capacity(None, None, blocks=1), "open"),
    (capacity(None, None, highest=Figure(reason="not met"), bound="below", blocks_below=5), "not met"),
    (capacity(None, None, highest=Figure(reason="not met"), bound="below", blocks_below=4), "open"),
    (capacity(None, None, highest=Figure(reason="no cells"), bound=None, reason="no cells", blocks=0), "open"),
])  # fmt: skip
def test_the_slo_is_a_finding_or_open(row: CapacityRow, state: str) -> None:
    facts = Facts(PLAIN.variants, PLAIN.quality, PLAIN.corpora, ["short@c1", "short@c8"], 0.05,
                  slo=SLO(ttft_ms=100), memory=PLAIN.memory, capacity=[row])  # fmt: skip
    found = next(c for c in conditions(facts, 1) if c.key == "slo:short")
    assert found.state == state
    assert found.asks == "SLO (TTFT 100 ms; 95% of requests) at some measured load"


def test_an_slo_that_no_load_could_show_is_open() -> None:
    facts = Facts(PLAIN.variants, PLAIN.quality, PLAIN.corpora, [], 0.05, slo=SLO(ttft_ms=100), memory=PLAIN.memory)
    assert next(c for c in conditions(facts, 1) if c.key == "slo").state == "open"


def test_an_slo_with_two_loops_names_both() -> None:
    rows = [capacity(3.0, 5.0), capacity(3.0, 5.0, unit="requests/s")]
    facts = Facts(PLAIN.variants, PLAIN.quality, PLAIN.corpora, [], 0.05, Policy(), SLO(ttft_ms=1), PLAIN.memory, rows)
    keys = [c.key for c in conditions(facts, 1) if c.key.startswith("slo")]
    assert keys == ["slo:short (streams)", "slo:short (requests/s)"]


def test_slower_does_not_ship_unless_the_policy_says_how_much() -> None:
    facts = Facts(PLAIN.variants, PLAIN.quality, PLAIN.corpora, ["short@c1"], 0.05, memory=PLAIN.memory)
    speed = facts.variants[2].speed.model_copy(
        update={"word": "slower", "ratio": Figure(value=0.8, low=0.78, high=0.82)}
    )
    slow = [v if v.name != "Q4_K_M" else v.model_copy(update={"speed": speed}) for v in facts.variants]
    changed = Facts(slow, PLAIN.quality, PLAIN.corpora, ["short@c1"], 0.05, memory=PLAIN.memory)
    assert [row.word for row in decision_rows(changed)] == ["ship", "do not ship", "do not ship"]
    allowed = Facts(slow, PLAIN.quality, PLAIN.corpora, ["short@c1"], 0.05, Policy(minimum_speedup=0.75),
                    memory=PLAIN.memory)  # fmt: skip
    rows = decision_rows(allowed)
    assert [row.word for row in rows] == ["ship", "ship", "do not ship"]
    assert recommend(allowed, rows).sentence == (
        "Use Q4_K_M: the smallest variant that is safe on every task and within the policy, though slower."
    )
