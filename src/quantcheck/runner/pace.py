"""How long engine starts and cells take, judged by those that were measured.

A cell of the same subject and size goes first, that of the same variant before others; else the cells of the same kind,
by their work. Nothing is guessed from a machine's name: without a measured cell there is no estimate, unless the caller
assumes one (`assumed.py`) and says so.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Protocol

from quantcheck.runner.plan import Task
from quantcheck.spec.experiment import AGAIN

__all__ = ["Assumed", "Pace"]


class Assumed(Protocol):
    """What is taken for granted where nothing was measured; None where not even that."""

    def seconds(self, task: Task) -> float | None:
        """Of a cell alone."""
        ...

    def start_s(self, variant: str, *, first: bool) -> float | None:
        """From starting an engine until it answers; `first`: nothing that it keeps for the next start is there yet."""
        ...


class Pace:
    """Learns from measured cells and starts; says how long others will take.

    With `assumed`, cells that were not measured take what it says, times what measured ones of their kind took by it.
    """

    def __init__(self, assumed: Assumed | None = None) -> None:
        self._assumed = assumed
        self._same: defaultdict[tuple[str, str, float], list[tuple[str, float]]] = defaultdict(list)
        self._kinds: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self._starts: defaultdict[str, list[float]] = defaultdict(list)

    def learn(self, task: Task, seconds: float, work: float | None = None) -> None:
        """A cell took `seconds`. `work`: what `assumed` says of it, where it is another experiment's."""
        self._same[_size(task)].append((_variant(task.entry), seconds))
        work = self._work(task) if work is None else work
        if work is not None:
            self._kinds[task.kind].append((seconds, work))

    def learn_start(self, entry: str, seconds: float) -> None:
        """An engine took `seconds` to answer. Called in the order of the starts: the first ones fill caches."""
        self._starts[_variant(entry)].append(seconds)

    def seconds(self, tasks: Iterable[Task]) -> float | None:
        """About how long `tasks` and the engine starts that they need will take in all.

        None when nothing was measured, or there is nothing to do.
        """
        tasks = list(tasks)
        found = [self._one(task) for task in tasks]
        known = [seconds for seconds in found if seconds is not None]
        if not known or len(known) < len(found):
            return None
        starts = {(task.entry, task.block, task.kind) for task in tasks if task.starts}
        times = Counter(_variant(entry) for entry, _, _ in starts)
        return sum(known) + sum(self._start(variant, first=True) + (count - 1) * self._start(variant, first=False)
                                for variant, count in times.items())

    def _one(self, task: Task) -> float | None:
        same = self._same.get(_size(task), [])
        own = [seconds for variant, seconds in same if variant == _variant(task.entry)]
        if found := own or [seconds for _, seconds in same]:
            return sum(found) / len(found)
        work = self._work(task)
        # Tokens are scored and served at unlike rates, but of one order: better than nothing at the start of a run.
        # Assumed seconds of one kind say nothing of another.
        seen = self._kinds.get(task.kind) or (None if self._assumed else next(iter(self._kinds.values()), None))
        if work is None or not seen:
            return work if self._assumed else None
        return work * sum(s for s, _ in seen) / sum(w for _, w in seen)

    def _start(self, variant: str, *, first: bool) -> float:
        if own := self._starts.get(variant):
            return own[-1]
        if self._starts:
            others = [seconds[0 if first else -1] for seconds in self._starts.values()]
            return sum(others) / len(others)
        return (self._assumed and self._assumed.start_s(variant, first=first)) or 0.0

    def _work(self, task: Task) -> float | None:
        return self._assumed.seconds(task) if self._assumed else task.work


def _size(task: Task) -> tuple[str, str, float]:
    return task.kind, task.subject, task.work


def _variant(entry: str) -> str:
    return entry.removesuffix(AGAIN)
