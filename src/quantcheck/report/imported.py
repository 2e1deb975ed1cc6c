"""A results folder of imported results: which experiment stands for it, and what is not told about its two sides."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from quantcheck.report.cells import Cell
from quantcheck.report.comparison import Difference
from quantcheck.spec.experiment import Experiment, Variant
from quantcheck.spec.part import Part
from quantcheck.spec.policy import Policy

__all__ = ["NO_REPORT", "imported_differences", "imported_experiment", "imported_notes"]

NO_REPORT = "holds imported results, which no report of a run can show: nothing in them is paired by block; use " \
            "`quantcheck compare`"
NEAR = 0.02
"""Prompts whose mean lengths differ by less are of one length: tools count tokens in their own ways."""
LENGTH = "prompt tokens per request"


class _Engine(Part):
    """In the place of an experiment's engine: every imported cell says what is known of its own."""

    kind: str = "imported"


def imported_experiment(document: Mapping[str, Any]) -> Experiment:
    """What a comparison needs of an experiment; there is none that could be run."""
    told = document["imported"]
    return Experiment.model_construct(
        name="imported", model="imported", weights="real", baseline=told["baseline"],
        variants={name: Variant.model_construct() for name in told["variants"]}, engine=_Engine(),  # type: ignore[arg-type]
        load=None, quality=None, policy=Policy(), blocks=1, noise_floor=False, seed=0)


Side = Sequence[Cell]


def imported_differences(
    subject: str, kind: Literal["speed", "tasks", "perplexity"], ours: Side, theirs: Side, engines: tuple[str, str]
) -> Iterator[Difference]:
    """What keeps two sides' cells of one subject, at least one of them imported, from being compared.

    `engines`: of the runs, for cells that are not imported. A task's and a text's own work is told at its row instead.
    What one side does not tell is no difference; `imported_notes` names it.
    """
    def one(what: str, a: set[str], b: set[str]) -> Iterator[Difference]:
        if a and b and a != b:
            yield Difference(what=f"{what} of {subject}", a=" or ".join(sorted(a)), b=" or ".join(sorted(b)),
                             concerns=kind)

    yield from one("engine", _told(ours, "engine", engines[0]), _told(theirs, "engine", engines[1]))
    yield from one("engine version", _told(ours, "engine_version"), _told(theirs, "engine_version"))
    if kind != "speed":
        return
    yield from one("tool", _told(ours, "tool"), _told(theirs, "tool"))
    yield from one("tool version", _told(ours, "version"), _told(theirs, "version"))
    works = [[cell.record["imported"]["work"] if "imported" in cell.record else {} for cell in side]
             for side in (ours, theirs)]
    for name in dict.fromkeys(key for side in works for work in side for key in work):
        a, b = ([work[name] for work in side if work.get(name) is not None] for side in works)
        if name == LENGTH:
            if a and b and abs(sum(a) / len(a) / (sum(b) / len(b)) - 1) > NEAR:
                yield from one(name, {f"{sum(a) / len(a):.1f}"}, {f"{sum(b) / len(b):.1f}"})
            continue
        yield from one(name, set(map(str, a)), set(map(str, b)))


def _told(cells: Side, key: str, engine: str | None = None) -> set[str]:
    """What a side's cells say; the project's own are measured by quantcheck, on `engine`."""
    found = set()
    for cell in cells:
        origin = cell.record.get("imported")
        if origin is None:
            told = cell.record["result"].get("engine") or cell.record.get("engine") or {}
            origin = {"tool": "quantcheck", "engine": engine, "engine_version": told.get("version")}
        if origin.get(key) is not None:
            found.add(str(origin[key]))
    return found


def imported_notes(subject: str, ours: Side, theirs: Side) -> Iterator[str]:
    """What a reader must know of imported cells of one subject."""
    for name, cells in (("A", ours), ("B", theirs)):
        tools = ", ".join(sorted(_told([cell for cell in cells if "imported" in cell.record], "tool")))
        if not tools:
            continue
        silent = [what for what, key in (("engine", "engine"), ("engine's version", "engine_version"))
                  if not _told(cells, key)]
        if silent:
            yield (f"{tools} does not tell the {' or the '.join(silent)} ({name}): that both sides had the same is "
                   "yours to know")
        lost = sum(count for cell in cells for how, count in cell.record["result"].get("outcomes", {}).items()
                   if how != "ok")
        if lost:
            asked = sum(int(cell.record["result"]["requests"]) for cell in cells)
            yield f"{lost:,} of {asked:,} requests of {subject} ({name}) did not end well, and count in no latency"
    lengths = [[value for cell in cells if (value := cell.record["result"].get("output_tokens_mean"))]
               for cells in (ours, theirs)]
    if all(lengths):
        a, b = (sum(side) / len(side) for side in lengths)
        if abs(a / b - 1) > NEAR:
            yield f"answers of {subject} are not of one length: {a:.1f} tokens in A, {b:.1f} in B"
