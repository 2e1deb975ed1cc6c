"""How long cells take, judged by cells that were measured: the same subject first, then the same kind by its work.

Nothing is guessed from a machine's name: without a measured cell there is no estimate.
"""

from collections import defaultdict
from collections.abc import Iterable

from quantcheck.runner.plan import Task

__all__ = ["Pace"]


class Pace:
    """Learns from measured cells; says how long others will take.

    Without `by_subject`, cells of one subject are not taken to be of one size (a probe's are smaller).
    """

    def __init__(self, *, by_subject: bool = True) -> None:
        self._by_subject = by_subject
        self._subjects: defaultdict[str, list[float]] = defaultdict(list)
        self._kinds: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)

    def learn(self, task: Task, seconds: float) -> None:
        """A cell took `seconds`."""
        self._subjects[task.subject].append(seconds)
        self._kinds[task.kind].append((seconds, task.work))

    def seconds(self, tasks: Iterable[Task]) -> float | None:
        """About how long `tasks` will take in all; None when nothing was measured, or there is nothing to do."""
        found = [self._one(task) for task in tasks]
        known = [seconds for seconds in found if seconds is not None]
        return sum(known) if known and len(known) == len(found) else None

    def _one(self, task: Task) -> float | None:
        same = self._subjects.get(task.subject)
        if same and self._by_subject:
            return sum(same) / len(same)
        # Tokens are scored and served at unlike rates, but of one order: better than nothing at the start of a run.
        seen = self._kinds.get(task.kind) or next(iter(self._kinds.values()), None)
        return task.work * sum(s for s, _ in seen) / sum(w for _, w in seen) if seen else None
