"""Two stored runs against each other: run A's variant is the baseline, run B's the variant."""

from collections.abc import Iterable, Mapping, Sequence

from quantcheck.errors import SpecError
from quantcheck.report import figures
from quantcheck.report.comparability import differences
from quantcheck.report.compare_quality import run_quality_rows
from quantcheck.report.compare_speed import run_speed_rows
from quantcheck.report.comparison import Difference, RunComparison, RunInfo, RunSpeedRow, VariantComparison
from quantcheck.report.held import Held
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
    found = differences(a, b, pairs)
    shared = {
        "speed": [load for load in a.index.loads if load in b.index.loads],
        "tasks": [task for task in a.index.tasks if task in b.index.tasks],
        "perplexity": [corpus for corpus in a.index.corpora if corpus in b.index.corpora],
    }
    if not any(shared.values()):
        raise SpecError(f"{a.store.root} and {b.store.root} have no load, task or corpus in common; "
                        "give runs of experiments that share some")
    blocked = {scope: _names(found, scope) for scope in shared}
    if not force and all(blocked[scope] for scope, subjects in shared.items() if subjects):
        told = "; ".join(f"{one.what} ({one.a} / {one.b})" for one in found)
        raise SpecError(f"{a.store.root} and {b.store.root} are not comparable: {told}; "
                        "measure both alike, or give --force for figures without verdicts")
    held = Held(blocked, force)
    return RunComparison(
        a=_info(a), b=_info(b), differences=found, forced=force,
        variants=[_compare(a, b, names, held) for names in pairs.items()],
        margin=a.experiment.policy.margin.model_dump(),
        notes=list(_notes(a, b, shared)),
    )


def _pairs(a: StoredRun, b: StoredRun, names: tuple[str | None, str | None]) -> dict[str, str]:
    ours, theirs = names[0] or names[1], names[1] or names[0]
    if ours is None or theirs is None:
        common = {name: name for name in a.index.variants if name in b.index.variants}
        if not common:
            raise SpecError(f"{a.store.root} and {b.store.root} have no variant of one name in common; "
                            f"name them: A:{a.index.variants[0]} B:{b.index.variants[0]}")
        return common
    for run, name in ((a, ours), (b, theirs)):
        if name not in run.index.variants:
            raise SpecError(f"{run.store.root}: has no variant {name!r}; it has {', '.join(run.index.variants)}")
    return {ours: theirs}


def _names(found: Iterable[Difference], scope: str) -> str:
    return ", ".join(one.what for one in found if one.concerns in ("all", scope))


def _info(run: StoredRun) -> RunInfo:
    return RunInfo(
        folder=str(run.store.root), experiment=run.experiment.name, model=run.experiment.model,
        engine=run.experiment.engine.kind, quantcheck=run.document.get("quantcheck"),
        hardware=run.document.get("hardware_id"),
    )  # fmt: skip


def _notes(a: StoredRun, b: StoredRun, shared: Mapping[str, Sequence[str]]) -> Iterable[str]:
    if a.store.root.resolve() == b.store.root.resolve():
        yield "A and B are one run: its own report pairs their speeds block by block, and is more exact"
    if a.experiment.policy.margin != b.experiment.policy.margin:
        yield "the two runs have unlike margins; those of run A are used"
    for run, other in ((a, b), (b, a)):
        alone = [subject for subject in (*run.index.loads, *run.index.tasks, *run.index.corpora)
                 if subject not in (*other.index.loads, *other.index.tasks, *other.index.corpora)]
        if alone:
            yield f"only in {run.store.root}: {', '.join(alone)}"
    if a.document.get("hardware_id") != b.document.get("hardware_id") and (shared["tasks"] or shared["perplexity"]):
        yield "quality comes from two machines: answers may differ by rounding alone; see each run's noise floor"


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
