"""How long the cells of a plan will take, from how long such cells took before on this machine.

Nothing is guessed: a cell whose like was never measured here counts as unknown.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from quantcheck.runner.plan import LoadStep, Plan
from quantcheck.store import Store

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """Counts of cells by kind, stored cells, and seconds (None: not known) for those that are left."""

    quality: int
    load: int
    starts: int
    entries: tuple[str, ...]
    suites: tuple[str, ...]
    windows: tuple[str, ...]
    blocks: int
    stored: int
    seconds: float | None
    unknown: int

    def lines(self) -> Iterator[str]:
        """What a user reads."""
        yield f"variants    {', '.join(self.entries)}"
        if self.quality:
            yield f"quality     {self.quality} cells: {', '.join(self.suites)}"
        if self.load:
            yield f"speed       {self.load} cells in {self.starts} engine starts ({self.blocks} blocks): " \
                  f"{', '.join(self.windows)}"
        left = self.quality + self.load - self.stored
        yield f"stored      {self.stored}; left to measure: {left}"
        if left == 0:
            yield "time        nothing is left"
        elif self.seconds is None:
            yield "time        unknown: no such cell was measured here yet; `quantcheck run` says it after a few cells"
        else:
            more = f", and {self.unknown} cells of which none was measured yet" if self.unknown else ""
            yield f"time        about {self.seconds:.0f} s, from the cells stored here{more}"


def estimate(plan: Plan, store: Store) -> Estimate:
    """Count and time the cells of `plan` with what `store` holds; artifacts are neither needed nor made.

    A stored cell counts when variant, subject and block are the same; whether all it was measured with is the same
    too is known only to a run.
    """
    seen: dict[tuple[str, str, int], float] = {}
    by_subject: Mapping[str, list[float]] = defaultdict(list)
    for cell in store.cells():
        key, seconds = cell.key, float(cell.record["duration_s"])
        seen[key.variant, key.subject, key.block] = seconds
        by_subject[key.subject].append(seconds)
    stored, unknown, seconds = 0, 0, 0.0
    load = quality = 0
    for step in plan.steps:
        block = step.block if isinstance(step, LoadStep) else 0
        for subject in step.subjects:
            load += isinstance(step, LoadStep)
            quality += not isinstance(step, LoadStep)
            if (step.entry, subject, block) in seen:
                stored += 1
            elif by_subject.get(subject):
                seconds += median(by_subject[subject])
            else:
                unknown += 1
    left = load + quality - stored
    loads = [step for step in plan.steps if isinstance(step, LoadStep)]
    suites = [step for step in plan.steps if not isinstance(step, LoadStep)]
    return Estimate(
        quality=quality, load=load, starts=len(loads),
        entries=tuple(dict.fromkeys(step.entry for step in plan.steps)),
        suites=tuple(suites[0].subjects) if suites else (),
        windows=tuple(loads[0].subjects) if loads else (),
        blocks=plan.experiment.blocks if loads else 0,
        stored=stored, seconds=seconds if unknown < left else None, unknown=unknown,
    )
