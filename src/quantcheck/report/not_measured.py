"""What has no figure, and why."""

from collections.abc import Mapping
from typing import Any

from quantcheck.report.cells import CellIndex
from quantcheck.report.gpu import NO_TELEMETRY, has_gpu
from quantcheck.report.summary import NotMeasured

__all__ = ["NOT_COUNTED", "YOUR_SERVERS", "not_measured_rows"]

NOT_COUNTED = ("quantized as it is loaded, and of a family whose weights are not counted beforehand; see Memory, after "
               "load")
YOUR_SERVERS = "your own server: neither its files nor its memory are seen from here"
RUNNING = ("your own servers keep running: blocks are rounds over them in reversed order (A B, B A ...), so that what "
           "changes from start to start is in no interval")


def not_measured_rows(index: CellIndex, environment: Mapping[str, Any], no_roofline: str | None) -> list[NotMeasured]:
    """A row for each thing that the experiment asks for and that has no figure; `no_roofline`: why there is none."""
    experiment = index.experiment
    found: list[NotMeasured] = []
    if experiment.load is None:
        found.append(NotMeasured(what="speed and memory under load", reason="no load in the experiment"))
    if experiment.quality is None:
        found.append(NotMeasured(what="quality", reason=index.no_quality))
    if not experiment.noise_floor:
        found.append(NotMeasured(what="noise floor", reason="turned off in the experiment"))
    if index.loads and environment.get("gpus") and not has_gpu(index) and index.experiment.engine.kind == "vllm":
        found.append(NotMeasured(what="energy and GPU memory", reason=NO_TELEMETRY))
    if experiment.engine.kind == "openai":
        found.append(NotMeasured(what="size and memory", reason=YOUR_SERVERS))
        if experiment.load is not None:
            found.append(NotMeasured(what="differences between engine starts", reason=RUNNING))
    explained = set()
    names = index.variants + ([index.again] if experiment.noise_floor else [])
    by_none, unasked = _by_none(index, names)
    found += by_none
    explained |= {(name, row.reason) for name in names for row in by_none}
    for name in names:
        written = [index.continuations] if index.continuations and index.continuations not in index.unknown else []
        subjects = [*index.tasks, *index.corpora, *written, *index.unknown]
        gone = [s for s in subjects if index.quality(name, s) is None and s not in unasked]
        short = {s: len(index.load(name, s)) for s in index.loads if len(index.load(name, s)) < experiment.blocks}
        gone += [s for s, blocks in short.items() if blocks == 0]
        by_reason: dict[str, list[str]] = {}
        for subject in gone:
            by_reason.setdefault(index.missing(name, subject), []).append(subject)
        for reason, missing in by_reason.items():
            everything = len(missing) == len(subjects) + len(index.loads)
            what = "everything" if everything else ", ".join(missing)
            found.append(NotMeasured(what=f"{name}: {what}", reason=reason))
            explained.add((name, reason))
        partly: dict[tuple[int, str], list[str]] = {}
        for subject, blocks in short.items():
            if blocks:
                partly.setdefault((blocks, index.missing(name, subject)), []).append(subject)
        for (blocks, reason), missing in partly.items():
            loads = "every load" if len(missing) == len(index.loads) > 1 else ", ".join(missing)
            what = f"{name}: {experiment.blocks - blocks} of {experiment.blocks} blocks of {loads}"
            found.append(NotMeasured(what=what, reason=reason))
            explained.add((name, reason))
    found += [
        NotMeasured(what=problem.what, reason=problem.reason)
        for problem in index.problems
        if (problem.variant, problem.reason) not in explained
    ]
    if no_roofline:
        found.append(NotMeasured(what="roofline", reason=no_roofline))
    return found


def _by_none(index: CellIndex, names: list[str]) -> tuple[list[NotMeasured], set[str]]:
    """Tasks that could not be answered for any variant, for the same reason: a row each, and their names."""
    rows, subjects = [], set()
    for subject in index.unknown:
        reasons = {index.missing(name, subject) for name in names}
        told = any(problem.subject == subject for problem in index.problems)
        if told and len(reasons) == 1:
            rows.append(NotMeasured(what=subject, reason=reasons.pop()))
            subjects.add(subject)
    return rows, subjects
