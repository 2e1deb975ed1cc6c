"""Planning formulas and the percentile rule."""

import numpy as np
import pytest
from scipy import stats

from quantcheck.stats import (
    PERCENTILE_SUPPORT,
    items_for_noninferiority,
    items_to_detect,
    minimum_detectable_difference,
    requests_for_percentile,
    supported_percentile,
)


def test_the_designs_constants() -> None:
    assert minimum_detectable_difference(0.05, 1_000) == pytest.approx(2.80 * np.sqrt(0.05 / 1_000), rel=1e-3)
    assert items_for_noninferiority(0.05, 0.01) == pytest.approx(0.05 * (1.645 + 0.842) ** 2 / 0.01**2, rel=1e-3)


def test_a_true_loss_of_the_margin_is_never_enough() -> None:
    assert items_for_noninferiority(0.05, 0.01, delta=-0.01) == float("inf")
    assert items_for_noninferiority(0.05, 0.01, delta=-0.005) > 3.9 * items_for_noninferiority(0.05, 0.01)


def test_planned_items_have_the_planned_power() -> None:
    n = round(items_to_detect(0.1, -0.03))
    rng = np.random.RandomState(1)
    draws = rng.multinomial(n, [0.035, 0.065, 0.9], 4_000)
    z = (draws[:, 0] - draws[:, 1]) / np.sqrt(draws[:, 0] + draws[:, 1])
    assert np.mean(z < -1.645) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("name", PERCENTILE_SUPPORT)
def test_percentile_support_is_the_rule(name: str) -> None:
    quantile, needed = float(name[1:]) / 100, PERCENTILE_SUPPORT[name]
    assert requests_for_percentile(quantile) == needed
    assert stats.binom.cdf(1, needed, 1 - quantile) <= 0.01 < stats.binom.cdf(1, needed - 1, 1 - quantile)
    assert supported_percentile(name, needed)
    assert not supported_percentile(name, needed - 1)
