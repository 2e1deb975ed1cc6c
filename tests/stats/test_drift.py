"""Which blocks a drifting machine spoils, and that leaving them out does not spoil the interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.stats import invalid_blocks, mean_by_block, pooled, ratio_interval, trend_floor


def test_a_block_that_stands_out_goes_and_only_for_variants_that_differ_less() -> None:
    drifts = {0: 0.01, 1: -0.02, 2: 0.15, 3: 0.015}
    assert invalid_blocks(drifts, effect=0.05, margin=0.02) == {2}
    assert invalid_blocks(drifts, effect=-0.05, margin=0.02) == {2}
    assert invalid_blocks(drifts, effect=0.3, margin=0.02) == set()
    assert invalid_blocks(drifts, effect=0.05, margin=0.2) == set()


def test_starts_that_differ_alike_in_all_blocks_are_noise_and_stay() -> None:
    assert invalid_blocks({0: 0.05, 1: -0.06, 2: 0.04, 3: -0.05}, effect=0.0, margin=0.02) == set()


def test_drifts_that_point_one_way_are_a_trend() -> None:
    drifts = {0: 0.050, 1: 0.055, 2: 0.060, 3: 0.015}
    assert invalid_blocks(drifts, effect=0.0, margin=0.02) == {0, 1, 2}
    assert invalid_blocks(drifts, effect=0.08, margin=0.02) == set()
    assert trend_floor(drifts) == pytest.approx(0.045)
    assert trend_floor({}) is None


def test_two_drifts_cannot_be_told_from_noise_and_go() -> None:
    assert invalid_blocks({0: 0.1, 1: 0.01}, effect=0.05, margin=0.02) == {0}
    assert invalid_blocks({}, effect=0.05, margin=0.02) == set()


@given(
    st.dictionaries(st.integers(0, 9), st.floats(-0.5, 0.5), max_size=8), st.floats(-0.5, 0.5), st.floats(0.001, 0.3)
)
def test_only_blocks_beyond_effect_and_margin_go_and_signs_do_not_matter(
    drifts: dict[int, float], effect: float, margin: float
) -> None:
    gone = invalid_blocks(drifts, effect, margin)
    assert all(abs(drifts[block]) > max(abs(effect), np.log1p(margin)) for block in gone)
    assert gone == invalid_blocks({block: -drift for block, drift in drifts.items()}, -effect, margin)
    assert gone >= invalid_blocks(drifts, 2 * effect, margin)


def test_means_take_the_loads_that_a_block_has() -> None:
    assert mean_by_block([{0: 0.1, 1: 0.2}, {1: 0.4}]) == pytest.approx({0: 0.1, 1: 0.3})
    assert mean_by_block([]) == {}


def test_the_pooled_baseline_is_the_geometric_mean_where_there_are_two() -> None:
    assert pooled({0: 100.0, 1: 100.0, 2: 50.0}, {0: 121.0, 2: 0.0}) == pytest.approx({0: 110.0, 1: 100.0, 2: 50.0})


def test_leaving_out_keeps_the_coverage_and_pooling_narrows() -> None:
    rng = np.random.default_rng(3)
    trials, blocks = 3_000, 5
    fallen = (rng.random((trials, blocks)) < 0.2) * -0.2  # the machine falls by 20% within every fifth block
    moment = rng.random((trials, blocks))
    at = np.where(np.arange(blocks) % 2 == 0, 0.0, 1.0)
    first, ours, twin = (rng.normal(0, 0.03, (trials, blocks)) + fallen * (time > moment) for time in (at, 0.5, 1 - at))
    covers, widths, alone = [], [], []
    for a, b, c in zip(first, ours, twin, strict=True):
        drifts = dict(enumerate(((c - a) * np.where(at == 0, 1, -1)).tolist()))
        logs = b - (a + c) / 2
        gone = invalid_blocks(drifts, float(logs.mean()), 0.05)
        if len(gone) == blocks:
            continue
        ratio = ratio_interval(np.array([log for block, log in enumerate(logs) if block not in gone]))
        if ratio.low is None or ratio.high is None:
            continue
        covers.append(ratio.low <= 1 <= ratio.high)
        widths.append(ratio.high / ratio.low)
        whole = ratio_interval(b - a)
        assert whole.high is not None
        assert whole.low is not None
        alone.append(whole.high / whole.low)
    assert len(covers) > 0.97 * trials
    assert 0.93 <= np.mean(covers) <= 0.97
    assert np.median(widths) < np.median(alone)
