"""The clock's record: looks are rare, and a system that tells nothing gives nothing."""

from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from quantcheck.telemetry import clocks
from quantcheck.telemetry.clocks import Clocks


def test_the_fastest_core_counts_and_looks_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([[1_000.0, 3_000.0], [2_000.0, 800.0], [2_500.0, 100.0]])
    now = SimpleNamespace(value=100.0)

    def frequencies(percpu: bool) -> list[Any]:
        assert percpu
        return [SimpleNamespace(current=mhz) for mhz in next(told)]

    monkeypatch.setattr(psutil, "cpu_freq", frequencies)
    monkeypatch.setattr(clocks.time, "monotonic", lambda: now.value)
    found = Clocks()
    for seconds in (0.0, 0.5, 1.1, 1.2, 2.3):
        now.value = 100.0 + seconds
        found.look()
    assert found.record() == {"cpu_mhz": {"low": 2_000.0, "median": 2_500.0, "high": 3_000.0, "looks": 3}}


@pytest.mark.parametrize("answer", [None, [], [SimpleNamespace(current=0.0)]])
def test_nothing_told_is_nothing_recorded(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    monkeypatch.setattr(psutil, "cpu_freq", lambda percpu: answer)
    found = Clocks()
    found.look()
    assert found.record() == {}


def test_a_system_without_clocks_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(percpu: bool) -> None:
        raise FileNotFoundError("no cpufreq")

    monkeypatch.setattr(psutil, "cpu_freq", fails)
    found = Clocks()
    found.look()
    assert found.record() == {}
