"""The highest load that meets the SLO: geometric growth, then bisection, each load probed until it is decided.

A load is decided when the 95% interval of the share of good requests lies on one side of the share that the SLO asks
for. The interval is Wilson's over the counts of all its probes. Requests of one probe go through one queue and are not
independent: from three probes on, the counts are divided by the design effect, max(1, variance between the probes /
binomial variance), and Student's t takes the place of the normal quantile where it is above 1 (Rao and Scott 1992).
A load that is not decided after `repeats` probes goes by its point estimate and is marked `unsettled`. One or two
probes show nothing of how probes differ, so near the knee a load may be decided too soon; that moves the bracket by a
step.

A probe without a steady state counts as failing, but as one such word in some hundred is wrong, a load fails by it only
when two probes say so (or all of them, where only one is allowed), and meets the SLO only when no more than one of at
least three does.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from typing import Any

from quantcheck.errors import SpecError
from quantcheck.load.intervals import LEVEL, wilson

__all__ = ["Found", "Level", "Observation", "Probe", "find_max", "observe"]


@dataclass(frozen=True, slots=True)
class Observation:
    """What one probe saw: `good` of `total` requests met the SLO; `steady` None: too short to tell."""

    good: int
    total: int
    steady: bool | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """What is known of one load after its probes. `low` and `high` bound its share of good requests."""

    load: float
    observations: tuple[Observation, ...]
    share: float
    low: float
    high: float
    meets: bool
    unsettled: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe in the order of the search, `repeat` counted from 0 at its load."""

    load: float
    repeat: int
    observation: Observation


@dataclass(frozen=True, slots=True)
class Found:
    """`highest` load that met the SLO and `lowest` above it that did not, None where there is none.

    `probes`: all, in order; `levels`: every load's judgement, in order. `unsettled`: whether an end of the bracket was
    decided by its point estimate only.
    """

    highest: float | None
    lowest: float | None
    reason: str
    unsettled: bool
    probes: list[Probe] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For the record and the plot."""
        return asdict(self)


def observe(result: dict[str, Any]) -> Observation:
    """The observation in a `result` of `summarize` that was given an SLO."""
    return Observation(result["slo"]["met"], result["slo"]["total"], result["window"]["steady"])


def find_max(
    probe: Callable[[float, int], Observation], *, share: float, start: float, limit: float, integer: bool,
    resolution: float = 0.02, repeats: int = 5, floor: float | None = None,
) -> Found:
    """Searches the highest load from `floor` to `limit` at which at least `share` of the requests are good.

    `probe(load, repeat)` runs one window; what it raises ends the search. The load doubles from `start` until one fails
    (is halved, when `start` does), then the bracket is halved, geometrically or by whole numbers (`integer`), until its
    ends differ by no more than `resolution` or are neighbours. `floor`: lowest load to try; 1 for whole numbers, else
    start / 64. Takes for granted that a load above one that fails fails too. Raises `SpecError` for numbers that do not
    fit together.
    """
    lowest_allowed = floor if floor is not None else 1.0 if integer else min(start, limit) / 64
    _check(share, start, limit, lowest_allowed, resolution, repeats, integer)
    search = _Search(probe, share, repeats, integer)
    good: Level | None = None
    bad: Level | None = None
    level = search.judge(start)
    if level.meets:
        good = level
        while bad is None and good.load < limit:
            level = search.judge(min(2 * good.load, limit))
            good, bad = (level, None) if level.meets else (good, level)
    else:
        bad = level
        while good is None and bad.load > lowest_allowed:
            half = bad.load // 2 if integer else bad.load / 2
            level = search.judge(max(half, lowest_allowed))
            good, bad = (level, bad) if level.meets else (None, level)
    while good is not None and bad is not None:
        middle = (good.load + bad.load) // 2 if integer else sqrt(good.load * bad.load)
        if bad.load / good.load - 1 <= resolution or (integer and bad.load - good.load <= 1):
            break
        level = search.judge(middle)
        good, bad = (level, bad) if level.meets else (good, level)
    return search.found(good, bad)


def _check(
    share: float, start: float, limit: float, floor: float, resolution: float, repeats: int, integer: bool
) -> None:
    if not 0 < share < 1:
        raise SpecError(f"slo.share: {share:g} is not between 0 and 1")
    if not 0 < floor <= start <= limit:
        raise SpecError(f"find-max: needs 0 < floor <= start <= limit, got floor {floor:g}, start {start:g} and "
                        f"limit {limit:g}")
    if integer and not all(float(load).is_integer() for load in (start, limit, floor)):
        raise SpecError(f"find-max: a number of streams is whole, got floor {floor:g}, start {start:g} and "
                        f"limit {limit:g}")
    if resolution <= 0 or repeats < 1:
        raise SpecError(f"find-max: resolution ({resolution:g}) must be above 0 and repeats ({repeats}) at least 1")


class _Search:
    def __init__(
        self, probe: Callable[[float, int], Observation], share: float, repeats: int, integer: bool
    ) -> None:
        self._probe, self._share, self._repeats, self._integer = probe, share, repeats, integer
        self.probes: list[Probe] = []
        self.levels: list[Level] = []

    def judge(self, load: float) -> Level:
        """Probes `load` until it is decided."""
        seen: list[Observation] = []
        while True:
            observation = self._probe(load, len(seen))
            self.probes.append(Probe(load, len(seen), observation))
            seen.append(observation)
            level = _level(load, seen, self._share, last=len(seen) >= self._repeats)
            if level is not None:
                self.levels.append(level)
                return level

    def found(self, good: Level | None, bad: Level | None) -> Found:
        ends = [level for level in (good, bad) if level is not None]
        if good is None:
            assert bad is not None
            reason = f"no load meets the SLO: at {bad.load:g}, the lowest that was tried, {bad.reason}"
        elif bad is None:
            reason = f"every load that was tried meets the SLO, up to the limit of {good.load:g}"
        else:
            reason = f"{good.load:g} meets the SLO ({good.reason}), {bad.load:g} does not ({bad.reason})"
        return Found(good.load if good else None, bad.load if bad else None, reason,
                     any(level.unsettled for level in ends), self.probes, self.levels)


def _level(load: float, seen: Sequence[Observation], share: float, *, last: bool) -> Level | None:
    """The judgement on `load`; None while more probes are needed, which after the `last` they are not."""
    good, total = sum(o.good for o in seen), sum(o.total for o in seen)
    unsteady = sum(o.steady is False for o in seen)
    low, high = _interval(seen)
    estimate = good / total if total else 0.0
    text = f"{good} of {total} requests were good in {len(seen)} probe{'s' * (len(seen) > 1)}"

    def level(meets: bool, why: str, *, unsettled: bool = False) -> Level:
        return Level(load, tuple(seen), estimate, low, high, meets, unsettled, why)

    if not total:
        return level(False, "no request was measured")
    if unsteady >= 2 or (last and len(seen) == unsteady):
        return level(False, f"{unsteady} of {len(seen)} probes found no steady state")
    if high < share:
        return level(False, text)
    if low >= share and (not unsteady or len(seen) >= 3):
        return level(True, text)
    return level(estimate >= share and not unsteady, f"{text}, unsettled", unsettled=True) if last else None


def _interval(seen: Sequence[Observation]) -> tuple[float, float]:
    """95% interval of the share of good requests over all probes, with the design effect from three on."""
    probes = [o for o in seen if o.total]
    good, total = sum(o.good for o in probes), sum(o.total for o in probes)
    if len(probes) < 3 or good in (0, total):
        return wilson(good, total)
    share = good / total
    between = sum((o.good - o.total * share) ** 2 / o.total for o in probes) / (len(probes) - 1)
    effect = between / (share * (1 - share))
    if effect <= 1:
        return wilson(good, total)
    from scipy.special import stdtrit

    return wilson(good / effect, total / effect, float(stdtrit(len(probes) - 1, (1 + LEVEL) / 2)))
