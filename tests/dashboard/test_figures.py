"""Summaries beside a measurement: one at a time, after a rest, and never one too few."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from quantcheck.dashboard import figures
from quantcheck.dashboard.figures import Figures
from quantcheck.report.runs import Run, State

RUN = Run("run", Path("results/run"))


def state(version: str, word: str = "running") -> State:
    return State("run", word, None, version, 0.0)  # type: ignore[arg-type]


class Children:
    """In place of child processes: what was asked of them, and how long each takes."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []
        self.at_once = self.most = 0
        self.takes_s = 0.01

    async def __call__(self, request: str) -> tuple[bool, bytes]:
        self.asked.append(json.loads(request))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(self.takes_s)
        self.at_once -= 1
        return True, b"{}"


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    found = Children()
    monkeypatch.setattr(figures, "_child", found)
    return found


def go(test: Callable[[Figures], Awaitable[None]], measuring: Callable[[], bool] = lambda: False) -> int:
    """How often the page would have been told of a summary."""
    told = []

    async def body() -> None:
        made = Figures(lambda: told.append(1), measuring)
        await test(made)
        await made.close()

    asyncio.run(body())
    return len(told)


def test_many_who_ask_are_given_one_summary(children: Children) -> None:
    async def test(made: Figures) -> None:
        bodies = await asyncio.gather(*(made.summary(RUN, state("v1")) for _ in range(5)))
        assert len({id(body) for body in bodies}) == 1
        assert made.version("run") == "v1"

    assert go(test) == 1
    assert len(children.asked) == 1


def test_nothing_is_made_twice_from_the_same_cells(children: Children) -> None:
    async def test(made: Figures) -> None:
        await made.summary(RUN, state("v1"))
        made.refresh(RUN, state("v1"))
        await asyncio.sleep(0.05)

    go(test)
    assert len(children.asked) == 1


def test_beside_a_running_run_it_rests_and_then_takes_the_latest(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(made: Figures) -> None:
        await made.summary(RUN, state("v1"))
        monkeypatch.setattr(figures, "REST", 1e9)
        made.refresh(RUN, state("v2"))
        await asyncio.sleep(0.05)
        assert made.version("run") == "v1"
        monkeypatch.setattr(figures, "REST", 0.0)
        made.refresh(RUN, state("v3"))
        made.refresh(RUN, state("v4"))
        await made.summary(RUN, state("v4"))
        while made.version("run") != "v3":
            await asyncio.sleep(0.01)

    go(test)
    assert len(children.asked) == 2


def test_when_the_run_has_ended_there_is_no_rest(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "REST", 1e9)

    async def test(made: Figures) -> None:
        await made.summary(RUN, state("v1"))
        made.refresh(RUN, state("v2", "finished"))
        while made.version("run") != "v2":
            await asyncio.sleep(0.01)

    go(test)
    assert [one["running"] for one in children.asked] == [True, False]


def test_each_child_is_told_whether_something_is_being_measured(children: Children) -> None:
    going_on = iter([True, False])

    async def test(made: Figures) -> None:
        await made.summary(Run("one", Path("results/one")), state("v1", "finished"))
        await made.summary(Run("two", Path("results/two")), state("v1", "finished"))

    go(test, lambda: next(going_on))
    assert [one["measuring"] for one in children.asked] == [True, False]


def test_one_at_a_time(children: Children) -> None:
    async def test(made: Figures) -> None:
        runs = [Run(f"run{k}", Path(f"results/{k}")) for k in range(4)]
        asked = {"of": None, "with": None, "force": False}
        here = (RUN, state("v1"))
        await asyncio.gather(*(made.summary(run, state("v1")) for run in runs), made.comparison(here, here, asked))

    go(test)
    assert (len(children.asked), children.most) == (5, 1)


def test_the_end_does_not_wait_for_what_is_being_made(children: Children) -> None:
    children.takes_s = 1000.0

    async def test(made: Figures) -> None:
        made.refresh(RUN, state("v1"))
        await asyncio.sleep(0.05)

    assert go(test) == 0
    assert len(children.asked) == 1
