"""The one view model: what `summary.json` holds and every report renders.

Durations are seconds, sizes bytes, shares and differences of accuracy fractions; `metrics` in the summary
carries each metric's unit, scale and definition. A figure that is missing is null and says why.
"""

from typing import Any, Literal

from pydantic import Field

from quantcheck.report.asked_rows import AskedRow
from quantcheck.report.damage_rows import ChangedRow, ContinuationRow, DamageRow, WorstTokenRow
from quantcheck.report.decision_rows import (
    Condition,
    CostRow,
    DecisionRow,
    FrontierRow,
    LoadCostRow,
)
from quantcheck.report.gpu_rows import EnergyRow, EnergyWord, GpuMemoryRow
from quantcheck.report.quality_rows import (
    CorpusRow,
    NoiseRow,
    QualitySummary,
    Sampled,
    SliceRow,
    Stopped,
    TaskRow,
    Unpaired,
)
from quantcheck.report.row import (
    Clause,
    CostWord,
    DecisionWord,
    Figure,
    QualityWord,
    Row,
    SpeedWord,
)
from quantcheck.report.speed_rows import (
    BlockRow,
    CapacityRow,
    DegradationRow,
    ExplanationRow,
    LoadRow,
    MeanSpeedRow,
    MemoryRow,
    PercentileRow,
    PredictedMemoryRow,
    RooflineRow,
    SpeedRow,
    SpeedSummary,
)

__all__ = [
    "SCHEMA_VERSION",
    "AskedRow",
    "BlockRow",
    "CapacityRow",
    "CellCount",
    "ChangedRow",
    "Clause",
    "Condition",
    "ContinuationRow",
    "CorpusRow",
    "CostRow",
    "CostWord",
    "DamageRow",
    "DecisionRow",
    "DecisionWord",
    "DegradationRow",
    "EnergyRow",
    "EnergyWord",
    "ExperimentInfo",
    "ExplanationRow",
    "Figure",
    "FrontierRow",
    "GpuMemoryRow",
    "Headline",
    "LoadCostRow",
    "LoadRow",
    "MeanSpeedRow",
    "MemoryRow",
    "NoiseRow",
    "NotMeasured",
    "PercentileRow",
    "PredictedMemoryRow",
    "QualitySummary",
    "QualityWord",
    "Recommendation",
    "RooflineRow",
    "Sampled",
    "SizeSummary",
    "SliceRow",
    "SpeedRow",
    "SpeedSummary",
    "SpeedWord",
    "Stopped",
    "Summary",
    "TaskRow",
    "Unpaired",
    "VariantRow",
    "WarningRow",
    "WorstTokenRow",
]

SCHEMA_VERSION: Literal[2] = 2


class Headline(Row):
    sentence: str
    clauses: list[Clause]


class Recommendation(Row):
    """`variant` is null when nothing can be recommended; `sentence` then says why and what would help."""

    variant: str | None
    sentence: str


class SizeSummary(Row):
    bytes: Figure
    bits_per_weight: Figure
    ratio: Figure = Field(description="bytes, variant / baseline")


class VariantRow(Row):
    """One line of the verdict table."""

    name: str
    baseline: bool
    scheme: str | None
    size: SizeSummary
    speed: SpeedSummary
    quality: QualitySummary
    perplexity_ratio: Figure = Field(description="the largest over the corpora")
    perplexity_corpus: str | None
    perplexity_word: QualityWord | None
    kl_divergence: Figure = Field(description="the largest over the corpora, nats per token")
    top1_agreement: Figure = Field(description="the smallest over the corpora")


class WarningRow(Row):
    """An anti-pattern that this run shows."""

    key: str = Field(description="which one, from the table in docs/methodology.md")
    text: str
    remedy: str


class NotMeasured(Row):
    what: str
    reason: str


class CellCount(Row):
    """How much of the experiment was measured; `finished` is false for a run that was interrupted or still goes on."""

    stored: int
    planned: int
    finished: bool


class ExperimentInfo(Row):
    name: str
    model: str
    baseline: str
    engine: str


class Summary(Row):
    """Everything a reader of a comparison is told."""

    schema_version: Literal[2] = SCHEMA_VERSION
    experiment: ExperimentInfo
    headline: Headline
    recommendation: Recommendation
    variants: list[VariantRow] = Field(description="baseline first")
    quality: list[TaskRow]
    corpora: list[CorpusRow]
    speed: list[SpeedRow]
    loads: list[LoadRow]
    memory: list[MemoryRow]
    noise_floor: list[NoiseRow]
    decisions: list[DecisionRow] = Field([])
    costs: list[CostRow] = Field([])
    load_costs: list[LoadCostRow] = Field([], description="of workloads with several loads; empty without a price")
    frontiers: list[FrontierRow] = Field([])
    slices: list[SliceRow] = Field([])
    roofline: list[RooflineRow] = Field([])
    explanations: list[ExplanationRow] = Field([])
    speed_means: list[MeanSpeedRow] = Field([])
    blocks: list[BlockRow] = Field([])
    capacity: list[CapacityRow] = Field([])
    degradation: list[DegradationRow] = Field([])
    energy: list[EnergyRow] = Field([], description="empty where no GPU was told of, as is `gpu_memory`")
    gpu_memory: list[GpuMemoryRow] = Field([])
    predicted_memory: list[PredictedMemoryRow] = Field([])
    asked: list[AskedRow] = Field([], description="of each pair in the experiment's `compare`")
    damage: list[DamageRow] = Field([], description="by part of a corpus, exploratory")
    worst_tokens: list[WorstTokenRow] = Field([], description="of each variant and corpus, the worst first")
    continuations: list[ContinuationRow] = Field([], description="empty where none were asked for")
    most_changed: list[ChangedRow] = Field([], description="of each variant, the most changed first")
    cells: CellCount | None = Field(None, description="null in summaries of older versions")
    environment: dict[str, Any]
    settings: dict[str, Any]
    artifacts: dict[str, dict[str, Any]]
    metrics: dict[str, dict[str, Any]]
    warnings: list[WarningRow]
    not_measured: list[NotMeasured]
