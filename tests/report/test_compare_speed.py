"""How often two runs of one thing come out as a finding, when the runs as a whole differ: by simulation."""

from typing import Any

import numpy as np
import pytest

from quantcheck.report.compare_speed import run_speed_rows
from quantcheck.report.held import Held
from quantcheck.report.stored import StoredRun
from tests.report import synthetic
from tests.report.stored_runs import in_memory
from tests.report.synthetic import FakeCell

FREE = Held({"speed": "", "tasks": "", "perplexity": ""}, force=False)
LOAD: dict[str, Any] = {
    "load": {"workloads": {"short": {"prompt_tokens": 32, "output_tokens": 32}}, "concurrency": [1]}, "quality": None,
}


def cell(variant: str, block: int, log: float) -> FakeCell:
    result = {"requests": 1, "outcomes": {"ok": 1}, "metrics": {"output_throughput": float(np.exp(log))}}
    return FakeCell({"schema": 1, "key": synthetic.key("load", variant, "short@c1", block), "result": result})


def simulated(rng: np.random.Generator, name: str, moved: float, effect: float, blocks: int) -> StoredRun:
    """A run whose machine is faster by `moved`: blocks share an effect of 3%, each start has 1% of its own."""
    found = []
    for block in range(blocks):
        shared = rng.normal(moved, 0.03)
        found += [cell("F16", block, shared + rng.normal(0, 0.01)),
                  cell("Q8_0", block, shared + effect + rng.normal(0, 0.01))]
    return in_memory(found, name, changes=LOAD)


def words(effect: float, trials: int, *, adjusted: bool) -> dict[str, float]:
    rng = np.random.default_rng(7)
    counts: dict[str, float] = {}
    for _ in range(trials):
        moved = float(rng.normal(0, 0.1))  # the machine of another day
        a, b = simulated(rng, "a", 0.0, 0.0, 5), simulated(rng, "b", moved, effect, 5)
        if not adjusted:  # the same, but the baseline is another file
            b.document["artifacts"]["F16"]["sha256"] = "0" * 64
        row, _ = run_speed_rows(a, b, ("Q8_0", "Q8_0"), FREE)
        assert row is not None
        counts[str(row.word)] = counts.get(str(row.word), 0) + 1 / trials
    return counts


def test_a_machine_of_another_day_is_no_finding_where_the_baseline_shows_it() -> None:
    found = words(0.0, 300, adjusted=True)
    assert found.get("faster", 0) + found.get("slower", 0) <= 0.05
    unseen = words(0.0, 300, adjusted=False)
    assert unseen.get("faster", 0) + unseen.get("slower", 0) > 0.3, "or the simulation has nothing to catch"


def test_a_true_speedup_is_still_found() -> None:
    assert words(0.4, 100, adjusted=True).get("faster", 0) >= 0.95


def test_a_machine_that_moved_hides_no_loss() -> None:
    """The variant is 10% slower, and the machine as much faster: alike in speed, and no finding that they are."""
    rng = np.random.default_rng(11)
    found = []
    for _ in range(100):
        a, b = simulated(rng, "a", 0.0, 0.0, 10), simulated(rng, "b", 0.1, -0.1, 10)
        row, _ = run_speed_rows(a, b, ("Q8_0", "Q8_0"), FREE)
        assert row is not None
        found.append(row.word)
    assert found.count("no detectable difference") == 0


@pytest.mark.parametrize(("blocks", "word"), [(1, "inconclusive"), (2, "faster")])
def test_few_blocks(blocks: int, word: str) -> None:
    rng = np.random.default_rng(1)
    a, b = simulated(rng, "a", 0.0, 0.0, blocks), simulated(rng, "b", 0.0, 1.0, blocks)
    row, rows = run_speed_rows(a, b, ("Q8_0", "Q8_0"), FREE)
    assert row is not None
    assert row.word == word
    assert {one.word for one in rows if one.metric != "output_throughput"} == {None}
    assert {one.reason for one in rows if one.metric != "output_throughput"} == {"one of the runs has no figure"}
