"""Many programs: their order, how many at a time, and that nothing is left when the call ends early."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from quantcheck.errors import MeasurementError
from quantcheck.sandbox import Limits, Outcome, Program, run_all

Alive = Callable[[], list[psutil.Process]]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
SLEEP = "import time\nwhile True: time.sleep(9)"


def test_outcomes_are_in_the_programs_order(name: str) -> None:
    programs = [Program(f"import time\ntime.sleep({(7 - n) * 0.03})\nprint({n})\nassert {n} % 3", name=name)
                for n in range(8)]
    told: dict[int, Outcome] = {}
    outcomes = run_all(iter(programs), workers=4, done=told.__setitem__)
    assert [outcome.stdout for outcome in outcomes] == [f"{n}\n" for n in range(8)]
    assert [outcome.ending for outcome in outcomes] == ["passed" if n % 3 else "failed" for n in range(8)]
    assert [told[n] for n in range(8)] == outcomes


def test_no_program_no_outcome() -> None:
    assert run_all([]) == []


def test_workers_bound_how_many_run(name: str, alive: Alive) -> None:
    seen: list[int] = []

    def look(_place: int, _outcome: Outcome) -> None:
        seen.append(sum(process.info["ppid"] == os.getpid() for process in alive()))

    run_all([Program("pass", name=name) for _ in range(8)], workers=2, done=look)
    assert len(seen) == 8
    assert max(seen) <= 2


def test_an_exception_ends_all(name: str, alive: Alive) -> None:
    def fail(_place: int, _outcome: Outcome) -> None:
        assert alive()
        raise RuntimeError("enough")

    programs = [Program(SLEEP, name=name), Program("pass", name=name), Program(SLEEP, name=name)]
    with pytest.raises(RuntimeError, match="enough"):
        run_all(programs, workers=3, done=fail)
    assert alive() == []


def test_descriptors_are_given_back(name: str) -> None:
    run_all([Program("pass", name=name)])
    before = sorted(Path("/proc/self/fd").iterdir())
    run_all([Program("pass", name=name), Program("while True: print('x' * 999)", name=name),
             Program(SLEEP, name=name)], Limits(wall_s=1.0, output_kib=4), workers=2)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


RUNNER = """
from quantcheck.sandbox import Limits, Program, run_all
programs = [Program("print(1)", name={name!r})] + [Program({sleep!r}, name={name!r})] * 5
run_all(programs, Limits(wall_s=300.0), workers=4, done=lambda place, outcome: print(outcome.ending, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_us(name: str, alive: Alive, number: signal.Signals) -> None:
    source = RUNNER.format(name=name, sleep=SLEEP)
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=ENVIRONMENT) as runner:
        assert runner.stdout is not None
        assert runner.stderr is not None
        assert runner.stdout.readline() == b"passed\n"
        assert alive()
        runner.send_signal(number)
        runner.wait(30)
        assert number == signal.SIGKILL or b"KeyboardInterrupt" in runner.stderr.read()
    if number == signal.SIGINT:
        assert alive() == []
    _wait_for_none(alive)


BUSY = """
from quantcheck.sandbox import Program, run_all
print("begin", flush=True)
run_all([Program("pass", name={name!r})] * 500, workers=4)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_us_that_was_only_being_started(name: str, alive: Alive, number: signal.Signals) -> None:
    """Bubblewrap's first process waits for a word of bubblewrap; when that was killed, it waited for ever."""
    for turn in range(20):
        with subprocess.Popen([sys.executable, "-c", BUSY.format(name=name)], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, env=ENVIRONMENT) as runner:
            assert runner.stdout is not None
            assert runner.stdout.readline() == b"begin\n"
            time.sleep(turn * 0.01)
            runner.send_signal(number)
            runner.wait(10)
        _wait_for_none(alive)  # also after Ctrl-C, which may come before what was started is known
        assert alive() == []


def _wait_for_none(alive: Alive) -> None:
    """The kernel's signal goes from one to the next."""
    end = time.monotonic() + 20
    while alive() and time.monotonic() < end:
        time.sleep(0.02)


def test_a_sandbox_that_does_not_start_is_not_the_programs_failure(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "bwrap"
    stand_in.write_text("#!/bin/sh\necho 'bwrap: Creating new namespace failed: Operation not permitted' >&2\nexit 1\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeasurementError, match=r"the sandbox did not start: bwrap: Creating new namespace failed"):
        run_all([Program("pass", name=name)] * 2)
