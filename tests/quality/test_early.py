"""Ending early: the watch asks after each chunk, and what it stores follows again from the items."""

import numpy as np
import pytest
from numpy.typing import NDArray

from quantcheck.quality.early import EarlyStop, in_look_order, look_every
from quantcheck.quality.suites import ChoiceTask, Corpus, Item, load_suites
from quantcheck.spec.experiment import Quality
from quantcheck.stats.sequential import look_order, paths


def task_of(count: int) -> ChoiceTask:
    items = tuple(Item(f"i{number}", "", f"{number}?", {}) for number in range(count))
    found = in_look_order(ChoiceTask("t", items, "d"), 3)
    assert isinstance(found, ChoiceTask)
    return found


def answered(harm: float, count: int = 2000) -> tuple[ChoiceTask, NDArray[np.bool_], dict[str, float]]:
    """A task in look order; what a variant has right there; the baseline's by id."""
    rng = np.random.default_rng(5)
    task = task_of(count)
    base = rng.uniform(size=count) < 0.8
    right = base & (rng.uniform(size=count) >= harm)
    return task, right, {item.id: float(value) for item, value in zip(task.items, base, strict=True)}


@pytest.mark.parametrize(("harm", "word"), [(0.0, "safe"), (0.5, "harmed")])
def test_the_watch_says_enough_at_the_first_look_after_the_threshold(harm: float, word: str) -> None:
    task, right, baseline = answered(harm)
    watch = EarlyStop(tasks=3, margins={"t": 0.02}, baseline={"t": baseline}).watch(task)
    seen = 0
    while not watch.enough(right[seen : seen + 64, None]):
        seen += 64
    seen += 64
    record = watch.record(3)
    assert (record["word"], record["items"], record["of"], record["order_seed"]) == (word, seen, 2000, 3)
    differences = right[:seen].astype(float) - [baseline[item.id] for item in task.items[:seen]]
    path = paths(differences, 0.02)[0 if word == "safe" else 1]
    crossed = int(np.flatnonzero(path >= np.log(3 / 0.05))[0]) + 1
    assert seen - 64 < crossed <= seen
    assert [look[0] for look in record["looks"]] == list(range(64, seen + 1, 64))
    place = 1 if word == "safe" else 2
    logs = [0.0, *(look[place] for look in record["looks"])]
    assert logs[-2] < np.log(3 / 0.05) <= logs[-1] == pytest.approx(path[crossed - 1])


def test_more_tasks_ask_for_more_and_an_open_task_goes_to_its_end() -> None:
    task, right, baseline = answered(0.0)

    def items(tasks: int, margin: float) -> int:
        watch = EarlyStop(tasks=tasks, margins={"t": margin}, baseline={"t": baseline}).watch(task)
        for seen in range(0, len(right), 64):
            if watch.enough(right[seen : seen + 64, None]):
                break
        return int(watch.record(0)["items"])

    assert items(1, 0.02) < items(20, 0.02) < 2000
    assert items(1, 1e-5) == 2000


def test_drawn_answers_count_by_their_share() -> None:
    task, _, baseline = answered(0.0, 640)
    watch = EarlyStop(tasks=1, margins={"t": 0.02}, baseline={"t": dict.fromkeys(baseline, 0.75)}).watch(task)
    half = np.tile([True, True, True, False], (640, 1))
    for seen in range(0, 640, 64):
        if watch.enough(half[seen : seen + 64]):
            break
    logs = paths(np.zeros(640), 0.02)[0]
    crossed = int(np.flatnonzero(logs >= np.log(20))[0])
    assert watch.record(0)["word"] == "safe"
    assert watch.record(0)["looks"][-1] == pytest.approx([-(-(crossed + 1) // 64) * 64, logs[crossed], 0.0])


def test_the_order_hangs_on_ids_and_seed_alone() -> None:
    items = tuple(Item(f"i{number}", "", "", {}) for number in range(50))
    one = in_look_order(ChoiceTask("t", items, "d"), 3)
    two = in_look_order(ChoiceTask("other", items[::-1], "e"), 3)
    assert isinstance(one, ChoiceTask)
    assert isinstance(two, ChoiceTask)
    names = [item.id for item in one.items]
    assert names == [item.id for item in two.items]
    assert names != [item.id for item in items]
    assert sorted(names) == sorted(item.id for item in items)
    assert names == [f"i{k}" for k in look_order([item.id for item in items], 3)]
    other = in_look_order(ChoiceTask("t", items, "d"), 4)
    assert isinstance(other, ChoiceTask)
    assert names != [item.id for item in other.items]


def test_a_corpus_keeps_its_order() -> None:
    corpus = load_suites(Quality(suites=["reference/stories"], tokens=50))[0]
    assert isinstance(corpus, Corpus)
    assert in_look_order(corpus, 3) is corpus


def test_a_look_fills_the_threads() -> None:
    assert look_every(1) == look_every(2) == 128
    assert look_every(16) == 1024
