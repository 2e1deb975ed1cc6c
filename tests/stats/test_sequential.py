"""The wealth processes: their formula, their promise at any look, and the order of items."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcheck.stats import holm
from quantcheck.stats.sequential import BETS, Stop, expected_stop, look_order, paths, stop

DIFFERENCES = st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=60)


def drawn(rng: np.random.RandomState, n: int, psi: float, delta: float) -> np.ndarray:
    return rng.choice(np.array([-1, 0, 1], dtype=np.int8), n, p=[(psi - delta) / 2, 1 - psi, (psi + delta) / 2])


@given(DIFFERENCES, st.floats(0.0, 0.3))
def test_paths_are_the_average_of_products(differences: list[int], margin: float) -> None:
    safe, harmed = paths(np.array(differences, dtype=np.int8), margin)
    wanted_safe = np.mean([np.prod([1 + bet * (d + margin) for d in differences]) for bet in BETS])
    wanted_harmed = np.mean([np.prod([1 - bet * d for d in differences]) for bet in BETS])
    assert np.exp(safe[-1]) == pytest.approx(wanted_safe)
    assert np.exp(harmed[-1]) == pytest.approx(wanted_harmed)


@pytest.mark.parametrize("margin", [-0.5, -0.02, 0.0, 0.02, 0.1])
@pytest.mark.parametrize("psi", [0.1, 0.6])
def test_each_process_expects_nothing_under_its_hypothesis(margin: float, psi: float) -> None:
    # All outcomes of five items by enumeration: the mean of E is exactly 1 where the hypothesis holds with equality.
    for truth, which in ((-margin, 0), (0.0, 1)):
        chance = {-1: (psi - truth) / 2, 0: 1 - psi, 1: (psi + truth) / 2}
        if min(chance.values()) < 0:
            continue
        total = 0.0
        for items in itertools.product((-1, 0, 1), repeat=5):
            total += np.prod([chance[d] for d in items]) * np.exp(paths(np.array(items), margin)[which][-1])
        assert total == pytest.approx(1.0)


@given(DIFFERENCES, st.integers(0, 5))
def test_wealth_depends_on_counts_alone_the_stop_on_items_alone(differences: list[int], seed: int) -> None:
    items = np.array(differences)
    shuffled = np.random.RandomState(seed).permutation(items)
    ends = [path[-1] for path in paths(items, 0.1)], [path[-1] for path in paths(shuffled, 0.1)]
    assert ends[0] == pytest.approx(ends[1])
    whole = stop(items, 0.1, alpha=0.4)
    if whole.word:  # the same answer at every later look, none at an earlier one
        assert stop(items[: whole.items], 0.1, alpha=0.4) == whole
        assert stop(items[: whole.items - 1], 0.1, alpha=0.4).word is None


def test_words_and_what_they_rest_on() -> None:
    same = stop(np.zeros(1_000), 0.02)
    assert (same.word, same.log_e_harmed) == ("safe", 0.0)
    # No flip: the largest bet nearly alone, log(20 * 5) / log(1 + 0.96 * 0.02) items, fewer for the others' share.
    assert 150 < same.items < np.log(100) / np.log1p(0.96 * 0.02)
    assert same.log_e_safe == pytest.approx(np.log(20), abs=0.02)
    lost = stop(np.tile([-1, 0, 0], 200), 0.02)
    assert lost.word == "harmed"
    assert lost.log_e_harmed >= np.log(20)
    assert stop(np.tile([-1, 1, 0], 20), 0.02).word is None
    assert stop(np.zeros(0), 0.02) == Stop(None, 0, 0.0, 0.0)
    assert stop(np.zeros(1_000), 0.02, tasks=4).items > same.items


def test_shares_of_draws_are_allowed_other_values_are_not() -> None:
    assert stop(np.tile([0.25, -0.25, 0.0], 300), 0.05).word == "safe"
    with pytest.raises(ValueError, match="between -1 and 1"):
        paths(np.array([0.0, 1.5]), 0.02)
    with pytest.raises(ValueError, match="margin is a fraction"):
        paths(np.zeros(3), 1.0)
    with pytest.raises(ValueError, match="between -1 and 1"):
        paths(np.array([np.nan]), 0.02)


@pytest.mark.parametrize("psi", [0.05, 0.2])
def test_looking_at_every_item_is_wrong_rarely(psi: float) -> None:
    rng, runs, n, margin = np.random.RandomState(11), 400, 6_000, 0.02
    safe = [stop(drawn(rng, n, psi, -margin), margin).word == "safe" for _ in range(runs)]
    harmed = [stop(drawn(rng, n, psi, 0.0), margin).word == "harmed" for _ in range(runs)]
    # 5% and three standard errors of 400 runs; a fixed-size test looked at as often is wrong in a third of them.
    assert np.mean(safe) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    assert np.mean(harmed) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_stops_after_a_fraction_of_the_items() -> None:
    rng = np.random.RandomState(12)
    stops = [stop(drawn(rng, 14_042, 0.05, 0.0), 0.02) for _ in range(300)]
    median = np.median([s.items for s in stops])
    assert median <= 1_000
    assert np.mean([s.word == "safe" for s in stops]) > 0.95
    assert 0.5 < median / expected_stop(0.05, 0.02) < 1


def test_holm_never_takes_back_a_word() -> None:
    rng = np.random.RandomState(13)
    stops = [stop(drawn(rng, 14_042, 0.05, delta), 0.02, tasks=4) for delta in (0.0, 0.0, -0.02, -0.05)]
    assert {s.word for s in stops[:2]} == {"safe"}
    for found, adjusted in zip(stops, holm([np.exp(-s.log_e_safe) for s in stops]), strict=True):
        assert found.word != "safe" or adjusted <= 0.05
    for found, adjusted in zip(stops, holm([np.exp(-s.log_e_harmed) for s in stops]), strict=True):
        assert found.word != "harmed" or adjusted <= 0.05


def test_expected_stop_grows_with_flips_tasks_and_loss() -> None:
    base = expected_stop(0.05, 0.02)
    assert expected_stop(0.1, 0.02) > base
    assert expected_stop(0.05, 0.02, tasks=4) > base
    assert expected_stop(0.05, 0.02, delta=-0.01) > base
    assert expected_stop(0.05, 0.02, delta=-0.02) == np.inf


def test_order_follows_from_ids_and_seed_alone() -> None:
    ids = [f"item-{i}" for i in range(500)]
    order = look_order(ids, 3)
    assert sorted(order.tolist()) == list(range(500))
    backwards = ids[::-1]
    assert [backwards[i] for i in look_order(backwards, 3)] == [ids[i] for i in order]
    assert look_order(ids, 4).tolist() != order.tolist()
    # Items keep their order when others join.
    fewer = ids[:200]
    assert [ids[i] for i in order if i < 200] == [fewer[i] for i in look_order(fewer, 3)]
    # Golden: another machine and another numpy must draw the same order.
    assert look_order(["a", "b", "c", "d", "e"], 0).tolist() == [3, 2, 4, 0, 1]
    # No trace of the order given: half of the first half is among the first looked at.
    assert 100 < np.sum(order[:250] < 250) < 150
    with pytest.raises(ValueError, match="comes twice"):
        look_order(["a", "a"], 0)
