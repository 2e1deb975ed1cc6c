"""Looking at a task's items as they come, and stopping as soon as they are enough: tests valid at any look.

Items come in a random order, D in {-1, 0, 1} is variant minus baseline on one item (any value in [-1, 1] where answers
are drawn several times). Two wealth processes (Waudby-Smith and Ramdas 2024, J. R. Stat. Soc. B 86:1-27):

  E_safe    average over lambda of prod(1 + lambda (D_i + margin))    H0: mean D <= -margin
  E_harmed  average over lambda of prod(1 - lambda D_i)               H0: mean D >= 0

Under its H0 each is a nonnegative supermartingale that begins at 1, so that P[it ever reaches 1/alpha] <= alpha
(Ville 1939), however often one looks. An average over a few fixed bets is itself a bet chosen from the items before;
for D in {-1, 0, 1} it depends on the counts of lost, gained and equal items alone, which makes a stop easy to audit.

What the random order gives: any prefix is a random sample of the task's items, so the statement is about the mean over
all items of this task, groups (MMLU's subjects) or not. What it does not give: a statement about other groups than
those the task has. `stats.noninferiority`, with clustered errors, makes that one, from a fixed number of items.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from quantcheck.stats.interval import FloatArray

__all__ = ["BETS", "Stop", "StopWord", "expected_stop", "look_order", "paths", "stop"]

StopWord = Literal["safe", "harmed"]

BETS: tuple[float, ...] = (0.06, 0.12, 0.24, 0.48, 0.96)
"""The lambdas, of equal weight. The best one is about (delta + margin) / psi: 0.4 for psi 5%, margin 2 pp and no loss.

Steps of 2 lose at most a ninth of the best one's growth. All are below 1, so that no item can end a process at 0.
"""


@dataclass(frozen=True, slots=True)
class Stop:
    """Whether the items seen are enough, and what that rests on.

    `word`: which process first reached tasks / alpha; None: neither has. `items`: the item at which it did; all that
    were given if none. `log_e_safe`, `log_e_harmed`: natural logs of the greatest values E up to `items`, the 1 at the
    start among them; 1 / E is a p-value at any look.
    """

    word: StopWord | None
    items: int
    log_e_safe: float
    log_e_harmed: float


def look_order(ids: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """Places in `ids` [n] in the order in which items are looked at: random, from the ids and the seed alone.

    The order of SHA-256 of seed and id: the same on every machine and numpy, whatever order the ids come in, and two
    items keep their order when others join. Raises `ValueError` when an id comes twice.
    """
    if len(set(ids)) != len(ids):
        raise ValueError("an item's id comes twice, so that the order of items is not determined")
    keys = [hashlib.sha256(f"{seed}\0{name}".encode()).digest() for name in ids]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=np.int64)


def paths(differences: npt.NDArray[Any], margin: float) -> tuple[FloatArray, FloatArray]:
    """(log E_safe, log E_harmed) after each item: both [n], natural logs.

    `differences` [n] in the order looked at, each in [-1, 1]; `margin` a fraction in (-1, 1), below 0 for H0: mean D
    <= a gain, as the ends of an interval need it. Raises `ValueError` for values outside.
    """
    d = np.asarray(differences, dtype=np.float64)
    if not -1 < margin < 1:
        raise ValueError(f"a margin is a fraction between -1 and 1, not {margin:g}")
    if not np.all(np.abs(d) <= 1):
        raise ValueError("differences of an item lie between -1 and 1")
    bets = np.array(BETS)[:, np.newaxis]
    # Below a margin of 0 an item may fall short of H0's mean by more than 1: bets stay below 1 / (1 - margin).
    safe = np.cumsum(np.log1p(bets / max(1.0, 1 - margin) * (d + margin)), axis=1)
    harmed = np.cumsum(np.log1p(-bets * d), axis=1)
    return _log_mean(safe), _log_mean(harmed)


def _log_mean(logs: FloatArray) -> FloatArray:
    """log of the mean of exp(`logs`) over the first axis; a third of the time that scipy's `logsumexp` takes."""
    top = logs.max(axis=0)
    averaged: FloatArray = top + np.log(np.exp(logs - top).mean(axis=0))
    return averaged


def stop(differences: npt.NDArray[Any], margin: float, *, alpha: float = 0.05, tasks: int = 1) -> Stop:
    """Decide from all items seen so far; call it after as many or as few new ones as you like.

    The threshold is tasks / alpha (Bonferroni over the tasks judged together), for each word a family of its own; Holm
    on 1 / E afterwards can therefore only add words, never take one back. The answer depends on the
    items, not on when it was asked for. Raises `ValueError` as `paths` does.
    """
    safe, harmed = paths(differences, margin)
    threshold = np.log(tasks / alpha)
    decided = np.flatnonzero((safe >= threshold) | (harmed >= threshold))
    items = int(decided[0]) + 1 if len(decided) else len(safe)
    best_safe, best_harmed = (float(path[:items].max(initial=0.0)) for path in (safe, harmed))
    word: StopWord | None = None
    if len(decided):
        # Both at one item cannot be a contradiction: a loss, within the margin. As in `judge_tasks` that is `safe`.
        word = "safe" if best_safe >= threshold else "harmed"
    return Stop(word, items, best_safe, best_harmed)


def expected_stop(psi: float, margin: float, *, delta: float = 0.0, alpha: float = 0.05, tasks: int = 1) -> float:
    """About how many items until `safe`, when a share `psi` of them flips and the true change is `delta`.

    The number at which items that arrive exactly in proportion reach the threshold. The true number is widely spread,
    its median about two thirds to four fifths of this (benchmarks/verdicts.py). Infinite when the loss is the margin
    or more.
    """
    if margin + delta <= 0:
        return float("inf")
    bets = np.array(BETS)
    lost, gained = (psi - delta) / 2, (psi + delta) / 2
    growth = (
        lost * np.log1p(bets * (margin - 1)) + gained * np.log1p(bets * (margin + 1))
        + (1 - psi) * np.log1p(bets * margin)
    )  # fmt: skip
    if growth.max() <= 0:
        return float("inf")
    target = np.log(tasks / alpha) + np.log(len(bets))
    most = target / growth.max()
    return float(optimize.brentq(lambda n: special.logsumexp(n * growth) - target, 0.0, most, xtol=0.1))
