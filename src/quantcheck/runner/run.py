"""An experiment, from artifacts to a written report; stopped anywhere, it goes on there."""

import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import quantcheck
from quantcheck.errors import SpecError, StoreError
from quantcheck.quality.overlap import calibration_texts, overlaps
from quantcheck.report.html import render as render_html
from quantcheck.report.markdown import render as render_markdown
from quantcheck.report.stored import environment_of, read_run
from quantcheck.report.view import Summary, build_summary
from quantcheck.runner.artifacts import artifacts_of
from quantcheck.runner.noted import Noted
from quantcheck.runner.plan import HARNESS, Plan, make_plan
from quantcheck.runner.progress import Progress, Silent
from quantcheck.runner.walk import Here, Walk, Walker, keep, write_document
from quantcheck.spec.document import content_hash
from quantcheck.spec.experiment import Experiment
from quantcheck.store import Store
from quantcheck.variants.calibration import calibration_text

__all__ = ["Outcome", "report", "run"]


@dataclass
class Outcome:
    """What a run came to.

    `measured`: cells that this run measured; `problems`: variants that could not be measured, each with its reason;
    `stages`: wall seconds of this run by stage (artifacts, quality, ceilings, calibration, speed, report, total).
    """

    summary: Summary
    folder: Path
    measured: int
    problems: list[dict[str, str]] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)


def run(
    experiment: Experiment, out: Path, progress: Progress | None = None, *, command: str | None = None,
    walker: Walker | None = None, blocks: Collection[int] | None = None,
) -> Outcome:
    """Measure what is not measured yet, and write `summary.json`, `comparison.md` and `report.html` into `out`.

    `command` is what the report gives as the way to run it again. `walker` says where it is measured; none: here, in
    order. `blocks`: those to measure now, from 0; the rest is left for another run.

    A variant whose artifact cannot be made, whose files cannot be loaded or whose engine fails is reported as failed,
    with the reason, and tried again by the next run; the others are measured. The baseline's failure ends the run,
    because nothing could be compared. Raises the errors of `quantcheck.errors`; finished cells stay.
    """
    began = time.monotonic()
    stages: dict[str, float] = {}
    plan = make_plan(experiment)
    if blocks is not None and not set(blocks) <= set(range(experiment.blocks)):
        raise SpecError(f"block {max(blocks) + 1}: the experiment has {experiment.blocks} (`blocks:`)")
    _ = plan.engine_version  # one that is not installed is told of before anything is made
    walker = walker or Here()
    store = Store(out)
    set_aside = store.lock()
    progress = Noted(progress or Silent(), store.work / "progress.json")
    try:
        for damage in set_aside:
            progress.note(damage)
        _claim(store, experiment, command, walker)
        artifacts, failed = artifacts_of(experiment, progress)
        # Kept now, so that a run that is stopped can be reported.
        keep(store, {"artifacts": {name: dict(artifact.recipe) for name, artifact in artifacts.items()},
                     "planned": [key.id for _, _, key in plan.keys(artifacts)]})
        stages["artifacts"] = time.monotonic() - began
        walk = Walk(plan, artifacts, failed, store, progress, stages, blocks)
        walk.begin()
        walker.walk(walk)
        problems = [{"variant": entry, "reason": reason} for entry, reason in failed.items()] + walk.left_out
        reporting = time.monotonic()
        summary = _write(experiment, store, walk, problems, _overlaps(plan))
        if not problems:
            shutil.rmtree(store.work, ignore_errors=True)
        stages["report"] = time.monotonic() - reporting
        stages["total"] = time.monotonic() - began
    finally:
        store.unlock()
    return Outcome(summary, out, walk.measured, problems, stages)


def report(store: Store) -> Summary:
    """Write the report of the last run again, measuring nothing; `StoreError` when no cell of it is stored."""
    summary = read_run(store, unfinished=True).summary()
    _write_reports(store, summary)
    return summary


def _overlaps(plan: Plan) -> list[dict[str, Any]]:
    """What the suites have in common with the texts that variants were quantized with."""
    texts = calibration_texts(plan.experiment.variants)
    for variant in plan.experiment.variants.values():
        how = variant.quantize.calibration
        if how is not None and how.dataset not in texts and (text := calibration_text(how, Path.cwd())):
            texts[how.dataset] = text
    return overlaps(texts, plan.baseline_step.suites) if texts and plan.experiment.quality else []


def _write(
    experiment: Experiment, store: Store, walk: Walk, problems: list[dict[str, str]], found: list[dict[str, Any]]
) -> Summary:
    document, cells = store.read_document("experiment.json") or {}, walk.cells()
    document["artifacts"] = {name: dict(artifact.recipe) for name, artifact in walk.artifacts.items()}
    document["overlaps"] = found
    if walk.whole:
        document["cells"] = [cell.key.id for cell in cells]
        document["problems"] = problems
    write_document(store, document)
    summary = build_summary(experiment, cells, document["artifacts"], environment_of(document), problems, found,
                            finished=walk.whole)
    _write_reports(store, summary)
    return summary


def _write_reports(store: Store, summary: Summary) -> None:
    store.write_document("summary.json", summary.model_dump_json(indent=1) + "\n")
    store.write_document("comparison.md", render_markdown(summary))
    store.write_document("report.html", render_html(summary))


def _claim(store: Store, experiment: Experiment, command: str | None, walker: Walker) -> None:
    """Refuse to mix machines; note the experiment and the machine."""
    document = store.read_document("experiment.json") or {}
    machine = walker.environment(document.get("hardware_id"))
    here = machine["hardware_id"]
    if document.get("hardware_id") not in (None, here):
        raise StoreError(
            f"{store.root}: holds figures of another machine ({document.get('hardware_id')}, this is {here}); "
            "figures of two machines are not mixed: give another --out"
        )
    if "imported" in document:
        raise StoreError(f"{store.root}: holds imported results, which no run is mixed with: give another --out")
    digest = content_hash(experiment)
    if document.get("experiment_sha256") != digest:
        # What was reported belongs to another experiment; its cells stay and are used where they fit.
        document = {key: document[key] for key in ("calibration",) if key in document}
    write_document(store, {
        **document,
        "schema": 1,
        "quantcheck": quantcheck.__version__,
        "experiment": experiment.model_dump(mode="json", by_alias=True),
        "experiment_sha256": digest,
        "hardware_id": here,
        "harness": HARNESS,
        "environment": machine | ({"command": command} if command else {}),
    })
