"""From cells to the one view model: `build_summary`."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from quantcheck.metrics import METRICS
from quantcheck.report.asked import asked_rows
from quantcheck.report.blocks import block_rows
from quantcheck.report.capacity import capacity_rows
from quantcheck.report.cells import Cell, CellIndex, planned_cells, read_problems
from quantcheck.report.continuations import changed_rows, continuation_rows
from quantcheck.report.costs import cost_rows
from quantcheck.report.damage import damage_rows, worst_token_rows
from quantcheck.report.decision import decision_rows, recommend
from quantcheck.report.degradation import degradation_rows
from quantcheck.report.energy import energy_rows
from quantcheck.report.frontiers import frontier_rows
from quantcheck.report.gpu_memory import gpu_memory_rows
from quantcheck.report.headline import Facts, make_headline
from quantcheck.report.load_costs import load_cost_rows
from quantcheck.report.noise import noise_floors, noise_rows, with_noise
from quantcheck.report.not_measured import NOT_COUNTED, YOUR_SERVERS, not_measured_rows
from quantcheck.report.overall import quality_summary
from quantcheck.report.pattern import Seen
from quantcheck.report.predicted_memory import predicted_memory_rows
from quantcheck.report.quality import corpus_rows, task_rows
from quantcheck.report.roofline import roofline, roofline_missing
from quantcheck.report.schema import summary_schema
from quantcheck.report.slices import slice_rows
from quantcheck.report.speed import load_row, mean_rows, memory_row, speed_rows, speed_summary
from quantcheck.report.summary import (
    CellCount,
    CorpusRow,
    ExperimentInfo,
    Figure,
    QualitySummary,
    SizeSummary,
    Summary,
    VariantRow,
)
from quantcheck.report.warnings import warning_rows
from quantcheck.spec.experiment import Experiment

__all__ = ["Summary", "build_summary", "summary_schema"]


def build_summary(
    experiment: Experiment,
    cells: Iterable[Cell],
    artifacts: Mapping[str, Mapping[str, Any]],
    environment: Mapping[str, Any],
    problems: Iterable[Mapping[str, Any] | str],
    overlaps: Iterable[Mapping[str, Any]] = (),
    *,
    finished: bool = True,
) -> Summary:
    """Everything a report says about one experiment.

    `artifacts` maps a variant to its recipe; `problems` are sentences, or mappings with `reason` and any of
    `variant`, `subject`, `block`; `overlaps` is what was found of the suites in calibration texts
    (`quality.overlap`). Cells, artifacts and problems may be missing: what they would have shown is then null with a
    reason. `finished`: whether the run came to its end; of one that did not nothing is recommended.
    """
    cells = list(cells)
    count = CellCount(stored=len(cells), planned=len(planned_cells(experiment)), finished=finished)
    index = CellIndex(experiment, cells, read_problems(problems))
    noise = noise_rows(index)
    task_floors, corpus_floors = noise_floors(noise)
    variants, tasks, corpora = [], [], []
    for name in index.variants:
        own_corpora = corpus_rows(index, name, corpus_floors)
        own_tasks = [] if name == index.baseline else task_rows(index, name, task_floors)
        corpora += with_noise(own_corpora, noise)
        tasks += with_noise(own_tasks, noise)
        quality = quality_summary(index, name, own_tasks, own_corpora)
        variants.append(_variant_row(index, name, artifacts, quality, own_corpora))
    loads = [load_row(index, name, load) for load in index.loads for name in index.variants]
    memory = [memory_row(index, name, artifacts.get(name, {}).get("bytes")) for name in index.variants]
    speed = [row for name in index.variants for row in speed_rows(index, name)]
    gpu_memory = gpu_memory_rows(index)
    capacity = capacity_rows(index)
    costs = cost_rows(index, capacity, artifacts)
    facts = Facts(
        variants, tasks, corpora, index.loads, experiment.policy.margin.throughput_ratio,
        policy=experiment.policy, slo=experiment.slo, memory=memory, capacity=capacity, costs=costs,
        gpu_memory=gpu_memory, cells=count,
    )  # fmt: skip
    decisions = decision_rows(facts)
    roofs, explanations = roofline(index, artifacts, environment, speed)
    recommendation = recommend(facts, decisions)
    return Summary(
        experiment=ExperimentInfo(
            name=experiment.name,
            model=experiment.model,
            baseline=experiment.baseline,
            engine=experiment.engine.kind,
        ),
        headline=make_headline(facts, recommendation),
        recommendation=recommendation,
        variants=variants,
        quality=tasks,
        corpora=corpora,
        speed=speed,
        speed_means=[row for name in index.variants for row in mean_rows(index, name)],
        blocks=block_rows(index),
        capacity=capacity,
        degradation=degradation_rows(index),
        energy=energy_rows(index),
        gpu_memory=gpu_memory,
        predicted_memory=predicted_memory_rows(index, artifacts),
        cells=count,
        loads=loads,
        memory=memory,
        noise_floor=noise,
        decisions=decisions,
        costs=costs,
        load_costs=load_cost_rows(index, speed),
        frontiers=frontier_rows(index, variants, speed, costs, (task_floors, corpus_floors)),
        asked=asked_rows(index, variants),
        damage=[row for name in index.variants for row in damage_rows(index, name)],
        worst_tokens=[row for name in index.variants for row in worst_token_rows(index, name)],
        continuations=continuation_rows(index),
        most_changed=[row for name in index.variants for row in changed_rows(index, name)],
        slices=[row for name in index.variants for row in slice_rows(index, name)],
        roofline=roofs,
        explanations=explanations,
        environment=dict(environment),
        settings=_settings(index),
        artifacts={name: dict(recipe) for name, recipe in artifacts.items()},
        metrics={key: asdict(metric) for key, metric in METRICS.items()},
        warnings=warning_rows(Seen(
            index, variants, tasks, corpora, loads, memory, speed_summary(index, index.again).word, artifacts,
            list(overlaps), count, environment,
        )),
        not_measured=not_measured_rows(index, environment, roofline_missing(index, artifacts, environment)),
    )


def _variant_row(
    index: CellIndex,
    name: str,
    artifacts: Mapping[str, Mapping[str, Any]],
    quality: QualitySummary,
    corpora: list[CorpusRow],
) -> VariantRow:
    recipe = artifacts.get(name, {})
    measured = [row for row in corpora if row.ratio.value is not None]
    worst = max(measured, key=lambda row: row.ratio.value or 0.0, default=None)
    none = Figure(reason="is the baseline" if name == index.baseline else _why_no_corpus(corpora))
    divergent = [row.kl_divergence for row in corpora if row.kl_divergence.value is not None]
    agreeing = [row.top1_agreement for row in corpora if row.top1_agreement.value is not None]
    return VariantRow(
        name=name,
        baseline=name == index.baseline,
        scheme=recipe.get("scheme") or index.experiment.variants[name].scheme,
        size=_size(index, name, artifacts),
        speed=speed_summary(index, name),
        quality=quality,
        perplexity_ratio=none if worst is None else worst.ratio,
        perplexity_corpus=None if worst is None else worst.corpus,
        perplexity_word=None if worst is None else worst.word,
        kl_divergence=max(divergent, key=lambda f: f.value or 0.0, default=none),
        top1_agreement=min(agreeing, key=lambda f: f.value or 0.0, default=none),
    )


def _why_no_corpus(corpora: list[CorpusRow]) -> str:
    reasons = [row.reason for row in corpora if row.reason]
    return reasons[0] if reasons else "no perplexity corpus in the experiment"


def _size(index: CellIndex, name: str, artifacts: Mapping[str, Mapping[str, Any]]) -> SizeSummary:
    def of(variant: str, key: str) -> Figure:
        recipe = artifacts.get(variant)
        reasons = [p.reason for p in index.problems if p.variant == variant and p.subject is None]
        if recipe and recipe.get(key):
            return Figure(value=float(recipe[key]))
        # An engine without weights says 0 bytes, which is no size.
        none = ("no recipe" if recipe is None else YOUR_SERVERS if "url" in recipe
                else NOT_COUNTED if "made" in recipe else "no weight files")
        return Figure(reason=(reasons or [none])[0])

    ours, base = of(name, "bytes"), of(index.baseline, "bytes")
    if ours.value and base.value:
        ratio = Figure(value=ours.value / base.value)
    else:
        ratio = Figure(reason=ours.reason or base.reason)
    return SizeSummary(bytes=ours, bits_per_weight=of(name, "bits_per_weight"), ratio=ratio)


def _settings(index: CellIndex) -> dict[str, Any]:
    """What the experiment fixed, and the hashes of the work that all variants were given."""
    experiment = index.experiment
    quality, load = experiment.quality, experiment.load
    engines = {
        name: dict(cell.record["result"].get("engine", {}))
        for name in index.variants
        for cell in list(index.load_cells(name))[:1]
    }
    hashes: dict[str, dict[str, str]] = {}
    asked: dict[str, Any] = {}
    for subject in [*index.tasks, *index.corpora]:
        cell = index.quality(index.baseline, subject)
        if cell is not None:
            found = {k: str(v) for k, v in cell.record["result"].items() if k.endswith("_sha256")}
            hashes |= {subject: found} if found else {}
            if "asked" in cell.record["result"]:
                asked[subject] = cell.record["result"]["asked"]
    return {
        "seed": experiment.seed,
        "blocks": experiment.blocks,
        "noise_floor": experiment.noise_floor,
        "margin": experiment.policy.margin.model_dump(),
        "policy": experiment.policy.model_dump(mode="json", exclude={"margin"}, exclude_defaults=True),
        "context": None if quality is None else quality.context,
        "stride": None if quality is None else quality.stride,
        "load": None if load is None else load.model_dump(mode="json", by_alias=True, exclude_none=True,
                                                             exclude={"python", "tokenizer"}),
        # An interpreter's path says where somebody's files lie; its versions are in the cells.
        "engine": experiment.engine.model_dump(mode="json", exclude={"python"}),
        "engines": engines,
        "hashes": hashes,
        **({"asked": asked} if asked else {}),
    }
