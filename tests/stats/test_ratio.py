"""Speed ratios: right arithmetic, and intervals that cover what they claim."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from quantcheck.stats import block_log_ratios, geometric_mean, ratio_interval, speed_ratio

RUNS = 2_000
TRUTH = 1 / 1.3
REQUESTS = 48
Draw = Callable[[np.random.RandomState, tuple[int, ...]], np.ndarray]

LATENCIES: dict[str, Draw] = {
    "lognormal": lambda rng, shape: rng.lognormal(0.0, 1.0, shape),
    "pareto": lambda rng, shape: 1.0 + rng.pareto(2.1, shape),
}


def blocks(rng: np.random.RandomState, draw: Draw, count: int, summary: Callable[..., np.ndarray]) -> np.ndarray:
    """Log ratios [RUNS, count]: every engine start has a 3% effect of its own, latencies have heavy tails."""
    starts = rng.normal(0.0, 0.03, (RUNS, count, 2))
    latencies = draw(rng, (RUNS, count, 2, REQUESTS)) * np.exp(starts)[..., None]
    figure = summary(latencies, axis=-1)
    return np.asarray(np.log(figure[:, :, 1] / figure[:, :, 0] * TRUTH))


def covered(log_ratios: np.ndarray) -> float:
    hits = 0
    for row in log_ratios:
        ratio = ratio_interval(row)
        assert ratio.low is not None
        assert ratio.high is not None
        hits += ratio.low <= TRUTH <= ratio.high
    return hits / len(log_ratios)


@pytest.mark.parametrize("summary", [np.mean, np.median], ids=["mean", "median"])
@pytest.mark.parametrize("tail", LATENCIES)
@pytest.mark.parametrize("count", [3, 5, 10])
def test_interval_covers_at_few_blocks(count: int, tail: str, summary: Callable[..., np.ndarray]) -> None:
    rng = np.random.RandomState(count)
    # 93% to 97%, where 2,000 runs leave an error of 0.5% of their own.
    assert 0.93 <= covered(blocks(rng, LATENCIES[tail], count, summary)) <= 0.97


def test_percentile_bootstrap_would_not_cover() -> None:
    log_ratios = blocks(np.random.RandomState(1), LATENCIES["lognormal"], 3, np.mean)
    picks = np.random.RandomState(2).randint(0, 3, (1_000, 3))
    low, high = np.quantile(log_ratios[:, picks].mean(-1), [0.025, 0.975], axis=1)
    assert np.mean((low <= np.log(TRUTH)) & (np.log(TRUTH) <= high)) < 0.85


@pytest.mark.parametrize("count", [3, 5])
def test_geometric_mean_covers_when_loads_share_their_block(count: int) -> None:
    rng = np.random.RandomState(7)
    hits = pretended = 0
    for _ in range(RUNS):
        shared = rng.normal(0.0, 0.03, count)
        loads = [
            {k: float(np.log(TRUTH) + effect + shared[k] + rng.normal(0, 0.01)) for k in range(count)}
            for effect in (-0.1, 0.0, 0.1)
        ]
        ratio = geometric_mean(loads)
        assert ratio is not None
        assert ratio.low is not None
        assert ratio.high is not None
        hits += ratio.low <= TRUTH <= ratio.high
        every = np.array([load[k] - effect for load, effect in zip(loads, (-0.1, 0.0, 0.1), strict=True) for k in load])
        naive = ratio_interval(every)
        assert naive.low is not None
        assert naive.high is not None
        pretended += naive.low <= TRUTH <= naive.high
    assert 0.93 <= hits / RUNS <= 0.97
    assert pretended / RUNS < 0.85  # what comes of counting loads as blocks


def test_equals_scipy() -> None:
    logs = np.array([0.31, 0.27, 0.33, 0.29])
    ratio = ratio_interval(logs)
    low, high = stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)
    assert ratio.estimate == pytest.approx(stats.gmean(np.exp(logs)), rel=1e-12)
    assert (ratio.low, ratio.high) == pytest.approx((np.exp(low), np.exp(high)), rel=1e-12)
    assert ratio.spread == pytest.approx(np.std(logs, ddof=1))


def test_one_block_has_no_interval() -> None:
    ratio = speed_ratio({0: 100.0}, {0: 140.0})
    assert ratio is not None
    assert (ratio.estimate, ratio.low, ratio.high, ratio.spread) == (pytest.approx(1.4), None, None, None)
    assert ratio.reason == "1 block: an interval needs at least 2"


def test_blocks_pair_by_number() -> None:
    baseline, variant = {0: 100.0, 1: 50.0, 3: 10.0}, {1: 100.0, 0: 200.0, 2: 7.0}
    assert block_log_ratios(baseline, variant) == pytest.approx({0: np.log(2), 1: np.log(2)})
    assert speed_ratio({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_figures_without_a_logarithm_are_left_out(value: float) -> None:
    assert block_log_ratios({0: 1.0, 1: 2.0}, {0: value, 1: 2.0}) == {1: 0.0}


def test_geometric_mean_takes_whole_blocks_only() -> None:
    ratio = geometric_mean([{0: 0.1, 1: 0.2, 2: 0.3}, {1: 0.4, 2: 0.5}])
    assert ratio is not None
    assert ratio.blocks == 2
    assert ratio.estimate == pytest.approx(np.exp(np.mean([0.3, 0.4])))
    assert geometric_mean([{0: 0.1}, {1: 0.1}]) is None
    assert geometric_mean([]) is None


FIGURES = st.floats(1e-3, 1e6)


@given(st.lists(st.tuples(FIGURES, FIGURES), min_size=2, max_size=8), st.floats(1e-3, 1e3))
def test_turning_the_ratio_turns_the_interval_and_units_do_not_matter(
    pairs: list[tuple[float, float]], scale: float
) -> None:
    baseline, variant = ({k: p[i] for k, p in enumerate(pairs)} for i in (0, 1))
    there, back = speed_ratio(baseline, variant), speed_ratio(variant, baseline)
    scaled = speed_ratio(*({k: v * scale for k, v in side.items()} for side in (baseline, variant)))
    assert there is not None
    assert back is not None
    assert scaled is not None
    for figure, inverse, same in zip(
        (there.low, there.estimate, there.high),
        (back.high, back.estimate, back.low),
        (scaled.low, scaled.estimate, scaled.high),
        strict=True,
    ):
        assert figure is not None
        assert inverse is not None
        assert np.log(figure) == pytest.approx(-np.log(inverse), rel=1e-6, abs=1e-6)
        assert same == pytest.approx(figure, rel=1e-6)
