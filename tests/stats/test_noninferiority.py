"""`safe`, `harmed`, `inconclusive`: right words, and the error rates they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from quantcheck.stats import compare_items, holm, judge_tasks
from quantcheck.stats.clusters import INDEPENDENT, clustering
from quantcheck.stats.noninferiority import PairedResult
from quantcheck.stats.paired import score_z


def paired(n: int, lost: int, gained: int, margin: float = 0.01) -> PairedResult:
    baseline = np.arange(n) < n - gained - 5
    variant = baseline.copy()
    variant[:lost] = False
    variant[n - gained :] = True
    return compare_items(baseline, variant, margin=margin)


def word(result: PairedResult) -> str:
    return judge_tasks({"task": result})["task"].word


@pytest.mark.parametrize(
    ("n", "lost", "gained", "expected"),
    [
        (600, 0, 0, "safe"),  # no flip in 600 items rules out a loss of 1 pp
        (164, 0, 0, "inconclusive"),  # in 164 it does not
        (14_042, 60, 40, "safe"),  # a proven loss, proven to be within the margin
        (600, 40, 10, "harmed"),
        (600, 12, 10, "inconclusive"),
        (600, 0, 40, "safe"),
    ],
)
def test_words(n: int, lost: int, gained: int, expected: str) -> None:
    assert word(paired(n, lost, gained)) == expected


def test_bounds_agree_with_words() -> None:
    safe, harmed = paired(600, 0, 0), paired(600, 40, 10)
    assert safe.lower_bound > -0.01
    assert harmed.upper_bound < 0
    assert harmed.low < harmed.lower_bound < harmed.flips.delta < harmed.upper_bound < harmed.high
    assert harmed.p == pytest.approx(stats.binomtest(10, 50).pvalue)


def test_inconclusive_says_what_would_settle_it() -> None:
    result = paired(600, 12, 10)
    verdict = judge_tasks({"task": result})["task"]
    assert verdict.more_items is not None
    # With that many items at the same rates the power is the planned 80%, well above a coin's.
    scale = (600 + verdict.more_items) / 600
    rng = np.random.RandomState(1)
    n = round(600 * scale)
    draws = rng.multinomial(n, [10 / 600, 12 / 600, 1 - 22 / 600], 1_000)
    settled = [score_z(g, b, n, -0.01) > 1.645 or stats.binom.cdf(g, g + b, 0.5) < 0.05 for g, b, _ in draws]
    assert np.mean(settled) > 0.7


def test_a_loss_at_the_margin_asks_for_a_loss_to_be_shown() -> None:
    verdict = judge_tasks({"task": paired(1_000, 14, 4)}, alpha=0.001)["task"]
    assert verdict.word == "inconclusive"
    assert verdict.more_items is not None


def test_noise_floor_holds_back_harm() -> None:
    result = paired(600, 40, 10)
    held = judge_tasks({"task": result}, floors={"task": -0.06})["task"]
    assert held.word == "inconclusive"
    assert held.reason is not None
    assert "noise floor" in held.reason
    assert judge_tasks({"task": result}, floors={"task": 0.002})["task"].word == "harmed"


def test_several_tasks_are_harder_to_call() -> None:
    borderline = paired(600, 8, 1)
    assert borderline.p_harmed == pytest.approx(stats.binom.cdf(1, 9, 0.5))
    assert word(borderline) == "harmed"
    verdicts = judge_tasks({str(i): borderline if i == 0 else paired(600, 6, 6) for i in range(4)})
    assert verdicts["0"].word == "inconclusive"
    assert verdicts["0"].reason == "settled alone, but not as one of 4 tasks (Holm)"
    assert judge_tasks({}) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    wanted = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(list(wanted), abs=1e-9)


def chance_of_safe(n: int, psi: float, margin: float) -> float:
    """P(`safe`) when the true loss is the margin, by enumeration of all outcomes: no simulation error."""
    first, last = (int(k) for k in stats.binom.ppf([1e-9, 1 - 1e-9], n, psi))
    flips = np.arange(max(first, 0), last + 1)
    # The fewest gained items that make it safe; the score rises with every one.
    low, high = np.zeros_like(flips), flips + 1
    while np.any(low < high):
        middle = (low + high) // 2
        safe = INDEPENDENT.p_below(middle, flips - middle, np.full_like(flips, n), -margin) <= 0.05
        searched = low < high
        high, low = np.where(searched & safe, middle, high), np.where(searched & ~safe, middle + 1, low)
    gains = (psi - margin) / 2 / psi
    return float(np.sum(stats.binom.pmf(flips, n, psi) * stats.binom.sf(low - 1, flips, gains)))


@pytest.mark.parametrize("psi", [0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("n", [164, 600, 1_319, 14_042])
@pytest.mark.parametrize("margin", [0.01, 0.02])
def test_safe_is_rarely_wrong(n: int, psi: float, margin: float) -> None:
    assert 0 < chance_of_safe(n, psi, margin) <= 0.055


@pytest.mark.parametrize("psi", [0.05, 0.2])
def test_safe_is_rarely_wrong_when_items_come_in_groups(psi: float) -> None:
    rng, groups, size, margin = np.random.RandomState(8), 60, 20, 0.02
    names = [str(i // size) for i in range(groups * size)]
    runs, clustered, pretended = 500, 0, 0
    baseline = np.ones(groups * size, dtype=np.bool_)
    for _ in range(runs):
        # Each group has flip rates of its own, so its items stand and fall together.
        lost = np.repeat(rng.beta(2, 2 / ((psi + margin) / 2) - 2, groups), size)
        gained = np.repeat(rng.beta(2, 2 / ((psi - margin) / 2) - 2, groups), size)
        draw = rng.uniform(size=groups * size)
        down, up = draw < lost, draw > 1 - gained
        ours, theirs = baseline & ~up, baseline & ~down
        clustered += compare_items(ours, theirs, margin=margin, groups=names).p_safe <= 0.05
        pretended += compare_items(ours, theirs, margin=margin).p_safe <= 0.05
    # 5% and three standard errors; tests/stats/test_clusters.py has more runs, of counts.
    assert clustered / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    assert pretended >= clustered


def test_groups_widen_bounds_p_values_and_plans() -> None:
    # 12 groups of 50; two of them fail together.
    baseline = np.ones(600, dtype=np.bool_)
    variant = baseline.copy()
    variant[:8] = variant[50:57] = False
    groups = [str(i // 50) for i in range(600)]
    alone, grouped = compare_items(baseline, variant, margin=0.01), compare_items(
        baseline, variant, margin=0.01, groups=groups
    )  # fmt: skip
    effect = grouped.design_effect
    assert (alone.groups, grouped.groups) == (None, 12)
    assert effect > 3
    assert alone.p_harmed == pytest.approx(0.5**15)
    # The bound is where the test stops rejecting.
    found = clustering(variant.astype(np.float64) - baseline, groups)
    assert found.p_above(0, 15, 600, grouped.upper_bound) == pytest.approx(0.05, abs=1e-6)
    assert found.p_below(0, 15, 600, grouped.lower_bound) == pytest.approx(0.05, abs=1e-6)
    assert grouped.p_harmed == pytest.approx(float(found.p_above(0, 15, 600, 0.0)))
    assert grouped.p_harmed > 0.05  # two groups that fail prove no loss in general
    assert grouped.low < alone.low
    assert grouped.upper_bound > alone.upper_bound
    plans = [judge_tasks({"t": r}, alpha=1e-9)["t"].more_items for r in (alone, grouped)]
    assert plans[0] is not None
    assert plans[1] is not None
    assert (plans[1] + 600) / (plans[0] + 600) == pytest.approx(effect, rel=0.01)


def test_more_tasks_ask_for_more_items() -> None:
    result = paired(600, 12, 10)
    one = judge_tasks({"a": result})["a"].more_items
    four = judge_tasks(dict.fromkeys("abcd", result))["a"].more_items
    assert one is not None
    assert four is not None
    assert four > 1.3 * one


@pytest.mark.parametrize("lost", [0, 3, 6, 20])
def test_harmed_is_never_wrong_too_often(lost: int) -> None:
    # One-sided exact McNemar without any loss: P(p <= 5%) over all splits of the flips.
    flips = 2 * lost
    p_values = stats.binom.cdf(np.arange(flips + 1), flips, 0.5)
    assert stats.binom.pmf(np.arange(flips + 1), flips, 0.5)[p_values <= 0.05].sum() <= 0.05
    result = paired(1_000, lost, lost)
    assert result.p_harmed == pytest.approx(stats.binom.cdf(lost, flips, 0.5))


def test_holm_keeps_the_family_error() -> None:
    rng, tasks, n, margin = np.random.RandomState(9), 4, 1_319, 0.01
    draws = rng.multinomial(n, [0.02, 0.03, 0.95], (2_000, tasks))  # a true loss of exactly the margin
    wrong = 0
    for run in draws:
        wrong += min(holm([float(stats.norm.sf(score_z(g, b, n, -margin))) for g, b, _ in run])) <= 0.05
    assert wrong / len(draws) <= 0.055
