"""Two stored runs against each other: run A's variant is the baseline, run B's the variant."""

from collections.abc import Iterable, Mapping, Sequence

from quantcheck.errors import SpecError
from quantcheck.report import figures
from quantcheck.report.comparability import differences
from quantcheck.report.compare_quality import run_quality_rows
from quantcheck.report.compare_speed import run_speed_rows
from quantcheck.report.comparison import Difference, RunComparison, RunInfo, RunSpeedRow, VariantComparison
from quantcheck.report.held import Held
from quantcheck.report.imported import imported_notes
from quantcheck.report.stored import StoredRun
from quantcheck.report.summary import QualitySummary

__all__ = ["compare_runs"]


def compare_runs(
    a: StoredRun, b: StoredRun, *, variants: tuple[str | None, str | None] = (None, None), force: bool = False
) -> RunComparison:
    """Verdicts between two runs; one name counts for both sides, none means all variants that both have.

    Raises `SpecError` for a variant that is not there, for runs that measured nothing in common, and, without
    `force`, when nothing that both measured is comparable: each difference is then named.
    """
    pairs = _pairs(a, b, variants)
    found = list(dict.fromkeys(one for names in pairs for one in differences(a, b, dict([names]))))
    shared = {
        "speed": [load for load in a.index.loads if load in b.index.loads],
        "tasks": [task for task in a.index.tasks if task in b.index.tasks],
        "perplexity": [corpus for corpus in a.index.corpora if corpus in b.index.corpora],
    }
    if a.imported or b.imported:  # a folder of imported results need not hold of each variant what it holds of another
        shared = {scope: [one for one in subjects if any(_both(a, b, names, one) for names in pairs)]
                  for scope, subjects in shared.items()}
    if not any(shared.values()):
        raise SpecError(f"{a.store.root} and {b.store.root} have no load, task or corpus in common; "
                        "give runs of experiments that share some")
    blocked = {scope: _names(found, scope) for scope in shared}
    if not force and all(blocked[scope] for scope, subjects in shared.items() if subjects):
        told = "; ".join(f"{one.what} ({one.a} / {one.b})" for one in found)
        raise SpecError(f"{a.store.root} and {b.store.root} are not comparable: {told}; "
                        "measure both alike, or give --force for figures without verdicts")
    held = Held(blocked, force)
    compared = [_compare(a, b, names, held) for names in pairs]
    return RunComparison(
        a=_info(a), b=_info(b), differences=found, forced=force,
        variants=compared,
        margin=a.experiment.policy.margin.model_dump(),
        notes=list(dict.fromkeys([*_notes(a, b, shared), *_of_imported(a, b, pairs), *_unpaired(compared)])),
    )


def _both(a: StoredRun, b: StoredRun, names: tuple[str, str], subject: str) -> bool:
    return all(run.index.load(name, subject) or run.index.quality(name, subject)
               for run, name in zip((a, b), names, strict=True))


def _pairs(a: StoredRun, b: StoredRun, names: tuple[str | None, str | None]) -> list[tuple[str, str]]:
    if names == (None, None) and a.imported and a.store.root.resolve() == b.store.root.resolve():
        others = [name for name in a.index.variants if name != a.index.baseline]
        if not others:
            raise SpecError(f"{a.store.root}: holds one variant, {a.index.baseline}; import another with `quantcheck "
                            "import FILE --as VARIANT`")
        return [(a.index.baseline, name) for name in others]
    ours, theirs = names[0] or names[1], names[1] or names[0]
    if ours is None or theirs is None:
        common = {name: name for name in a.index.variants if name in b.index.variants}
        if not common:
            raise SpecError(f"{a.store.root} and {b.store.root} have no variant of one name in common; "
                            f"name them: A:{a.index.variants[0]} B:{b.index.variants[0]}")
        return list(common.items())
    for run, name in ((a, ours), (b, theirs)):
        if name not in run.index.variants:
            raise SpecError(f"{run.store.root}: has no variant {name!r}; it has {', '.join(run.index.variants)}")
    return [(ours, theirs)]


def _names(found: Iterable[Difference], scope: str) -> str:
    return ", ".join(one.what for one in found if one.concerns in ("all", scope))


def _info(run: StoredRun) -> RunInfo:
    if run.imported:
        origins = [cell.record["imported"] for cell in run.cells]
        tools, engines = ({str(origin[key]) for origin in origins if origin[key]} for key in ("tool", "engine"))
        return RunInfo(folder=str(run.store.root), experiment="imported", model=f"imported from {_list(tools)}",
                       engine=_list(engines) or "an engine that is not told", quantcheck=run.document.get("quantcheck"),
                       hardware=None)
    return RunInfo(
        folder=str(run.store.root), experiment=run.experiment.name, model=run.experiment.model,
        engine=run.experiment.engine.kind, quantcheck=run.document.get("quantcheck"),
        hardware=run.document.get("hardware_id"),
    )  # fmt: skip


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _notes(a: StoredRun, b: StoredRun, shared: Mapping[str, Sequence[str]]) -> Iterable[str]:
    if a.store.root.resolve() == b.store.root.resolve() and not a.imported:
        yield "A and B are one run: its own report pairs their speeds block by block, and is more exact"
    if a.experiment.policy.margin != b.experiment.policy.margin:
        yield "the two runs have unlike margins; those of run A are used"
    for run, other in ((a, b), (b, a)):
        alone = [subject for subject in (*run.index.loads, *run.index.tasks, *run.index.corpora)
                 if subject not in (*other.index.loads, *other.index.tasks, *other.index.corpora)]
        if alone:
            yield f"only in {run.store.root}: {', '.join(alone)}"
    machines = [run.document.get("hardware_id") for run in (a, b)]
    measured = not (a.imported or b.imported) and (shared["tasks"] or shared["perplexity"])
    if measured and machines[0] != machines[1]:
        yield "quality comes from two machines: answers may differ by rounding alone; see each run's noise floor"


def _of_imported(a: StoredRun, b: StoredRun, pairs: Iterable[tuple[str, str]]) -> Iterable[str]:
    if not (a.imported or b.imported):
        return
    for ours, theirs in pairs:
        for load in a.index.loads:
            sides = [list(run.index.load(name, load).values()) for run, name in ((a, ours), (b, theirs))]
            if all(sides):
                yield from imported_notes(load, *sides)
            elif any(sides):
                yield f"only {ours if sides[0] else theirs} has {load}"
        for subject in (*a.index.tasks, *a.index.corpora):
            cells = a.index.quality(ours, subject), b.index.quality(theirs, subject)
            if cells[0] is not None and cells[1] is not None:
                yield from imported_notes(subject, [cells[0]], [cells[1]])
            elif any(cells):
                yield f"only {ours if cells[0] else theirs} has {subject}"


def _unpaired(compared: Iterable[VariantComparison]) -> Iterable[str]:
    """Which words rest on an unpaired test, or on a test that the tool made itself."""
    for one in compared:
        tasks = [row.task for row in one.tasks if not row.paired and row.word not in (None, "not comparable")]
        if tasks:
            yield f"no items on both sides, so an unpaired test of {', '.join(tasks)}: pairing would need fewer items"
        for row in one.corpora:
            if row.unit is None and row.reason and row.word not in (None, "not comparable"):
                yield f"perplexity of {row.corpus}: {row.reason}"


def _compare(a: StoredRun, b: StoredRun, names: tuple[str, str], held: Held) -> VariantComparison:
    quality, tasks, corpora = run_quality_rows(a, b, names, held)
    speed, loads = run_speed_rows(a, b, names, held)
    hashes = [run.artifacts.get(name, {}).get("sha256") for run, name in zip((a, b), names, strict=True)]
    return VariantComparison(
        a=names[0], b=names[1], same_file=hashes[0] is not None and hashes[0] == hashes[1],
        sentence=_sentence(*names, quality, speed), quality=quality, speed=speed,
        tasks=tasks, corpora=corpora, loads=loads,
    )  # fmt: skip


def _sentence(ours: str, theirs: str, quality: QualitySummary, speed: RunSpeedRow | None) -> str:
    parts = []
    if quality.basis == "tasks" and quality.delta.value is not None:
        band = figures.points_interval(quality.delta)
        parts.append(f"accuracy {figures.points(quality.delta)}{f' (95% CI {band})' if band else ''}")
    if quality.basis != "none" and (quality.word or quality.reason):
        parts.append(f"quality {quality.word or 'without a verdict'}"
                     + (f" ({quality.reason})" if quality.reason and not quality.harmed else ""))
    if speed is not None:
        if speed.ratio.value is not None:
            band = figures.interval(speed.ratio)
            parts.append(f"speed {figures.ratio(speed.ratio)}{f' (95% CI {band})' if band else ''}")
        parts.append((speed.word or "no verdict") + (f" ({speed.reason})" if speed.reason else ""))
    return f"{theirs if ours == theirs else f'{theirs} against {ours}'}: {', '.join(parts)}."
