"""Which requests meet an SLO."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from quantcheck.load.columns import columns
from quantcheck.load.goodput import attainment, meets
from quantcheck.load.intervals import wilson
from quantcheck.load.records import Record
from quantcheck.spec.load import SLO
from tests.load.test_summary import record


def met(records: list[Record], **limits: float) -> list[bool]:
    return meets(columns(records), SLO(**limits)).tolist()


CLOSED = [
    record(0, 0, "measured", 0, [(10, 1), (20, 1), (30, 1)]),
    record(1, 0, "measured", 30, [(90, 1), (95, 1), (100, 1)]),
    record(2, 0, "measured", 100, [(110, 5)]),
    record(3, 0, "measured", 110, [(111, 1), (112, 1)], "incomplete"),
    record(4, 0, "measured", 112, [], "refused"),
]


@pytest.mark.parametrize(("limits", "expected"), [
    ({"ttft_ms": 10}, [True, False, True, False, False]),
    ({"itl_ms": 5}, [False, True, True, False, False]),
    ({"e2e_ms": 30}, [True, False, True, False, False]),
    ({"ttft_ms": 60, "itl_ms": 10, "e2e_ms": 70}, [True, True, True, False, False]),
    ({"ttft_ms": 60, "itl_ms": 5}, [False, True, True, False, False]),
    ({}, [True, True, True, False, False]),
])
def test_every_limit_counts_and_a_failure_never_meets(limits: dict[str, float], expected: list[bool]) -> None:
    assert met(CLOSED, **limits) == expected


def test_in_an_open_loop_waiting_counts() -> None:
    records = [record(k, k, "measured", 50, [(60, 1), (70, 1)], due_ms=due) for k, due in enumerate((50.0, 20.0))]
    assert met(records, ttft_ms=10) == [True, False]
    assert met(records, e2e_ms=20) == [True, False]
    assert met(records, itl_ms=10) == [True, True]


def test_attainment_has_its_interval_and_its_word() -> None:
    found = attainment(np.array([True] * 96 + [False] * 4), SLO(ttft_ms=10, share=0.95))
    assert (found["met"], found["total"], found["attained"]) == (96, 100, 0.96)
    assert found["interval"] == pytest.approx(proportion_confint(96, 100, method="wilson"))
    assert (found["holds"], found["settled"]) == (True, False)
    assert attainment(np.ones(100, np.bool_), SLO(share=0.95))["settled"] is True
    assert attainment(np.zeros(10, np.bool_), SLO(share=0.95))["holds"] is False
    none = attainment(np.empty(0, np.bool_), SLO())
    assert (none["attained"], none["interval"], none["holds"]) == (None, None, None)


@pytest.mark.parametrize("good", range(0, 21, 4))
def test_wilson_is_the_known_interval(good: int) -> None:
    assert wilson(good, 20) == pytest.approx(proportion_confint(good, 20, method="wilson"), abs=1e-12)


def test_without_requests_nothing_is_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
