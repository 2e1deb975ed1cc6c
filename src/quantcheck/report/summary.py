"""The one view model: what `summary.json` holds and every report renders.

Durations are seconds, sizes bytes, shares and differences of accuracy fractions; `metrics` in the summary
carries each metric's unit, scale and definition. A figure that is missing is null and says why.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "SCHEMA_VERSION",
    "Clause",
    "CorpusRow",
    "ExperimentInfo",
    "Figure",
    "Headline",
    "LoadRow",
    "MemoryRow",
    "NoiseRow",
    "NotMeasured",
    "PercentileRow",
    "QualitySummary",
    "QualityWord",
    "Recommendation",
    "SizeSummary",
    "SpeedRow",
    "SpeedSummary",
    "SpeedWord",
    "Summary",
    "TaskRow",
    "VariantRow",
]

SCHEMA_VERSION: Literal[1] = 1

QualityWord = Literal["safe", "harmed", "inconclusive", "not comparable"]
SpeedWord = Literal["faster", "slower", "no detectable difference", "inconclusive", "not comparable"]


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(Row):
    """A number with its 95% interval; `reason` says why the number, or only its interval, is missing."""

    value: float | None = Field(None, allow_inf_nan=False)
    low: float | None = Field(None, allow_inf_nan=False)
    high: float | None = Field(None, allow_inf_nan=False)
    reason: str | None = None

    @model_validator(mode="after")
    def _missing_says_why(self) -> "Figure":
        if self.value is None and not self.reason:
            raise ValueError("a missing figure needs a reason")
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two ends")
        return self


class Clause(Row):
    """A piece of the headline and the JSON pointer (RFC 6901) of the figure or word that it states."""

    text: str
    variant: str | None
    source: str


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


class SpeedSummary(Row):
    """Output throughput, variant / baseline: the geometric mean over loads."""

    ratio: Figure
    loads: int = Field(description="loads in the mean")
    blocks: int
    word: SpeedWord | None
    more_blocks: int | None = None
    reason: str | None = None


class QualitySummary(Row):
    """All tasks together. `word` is the worst of the tasks' words; without tasks, of the corpora's."""

    word: QualityWord | None
    basis: Literal["tasks", "perplexity", "none"]
    n: int
    accuracy: Figure
    delta: Figure = Field(description="change of accuracy over all items, a fraction")
    lost: int = Field(description="items that the baseline has right and the variant wrong")
    gained: int
    harmed: list[str] = Field(description="subjects that are harmed")
    undecided: list[str] = Field(description="subjects that are inconclusive, missing or not comparable")
    more_items: int | None = Field(None, description="items that the neediest task lacks")
    reason: str | None = None


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


class TaskRow(Row):
    """One task, one variant against the baseline, paired by item."""

    task: str
    variant: str
    n: int
    baseline_accuracy: Figure
    accuracy: Figure
    delta: Figure = Field(description="accuracy of the variant minus the baseline's; two-sided 95%")
    lower_bound: float | None = Field(description="one-sided 95% bound of delta")
    upper_bound: float | None = Field(description="one-sided 95% bound of delta")
    lost: int
    gained: int
    p: float | None = Field(description="exact McNemar, two-sided, unadjusted")
    p_safe: float | None = Field(description="one-sided, loss below margin; Holm over the variant's tasks")
    p_harmed: float | None = Field(description="one-sided, any loss; Holm over the variant's tasks")
    detectable: float | None = Field(description="smallest true change found with 80% power at this n")
    groups: int | None = Field(description="clusters used; null when items count one by one")
    design_effect: float | None
    word: QualityWord | None
    more_items: int | None = None
    reason: str | None = None


class CorpusRow(Row):
    """One perplexity corpus, one variant; the baseline has a row of its own, without ratio and divergence."""

    corpus: str
    variant: str
    tokens: int
    documents: int
    unit: Literal["document", "segment"] | None = Field(description="what the intervals rest on")
    units: int
    context: int | None
    stride: int | None
    perplexity: Figure
    ratio: Figure = Field(description="perplexity, variant / baseline, paired")
    kl_divergence: Figure
    top1_agreement: Figure
    word: QualityWord | None
    more_units: int | None = None
    reason: str | None = None


class SpeedRow(Row):
    """One metric at one load; the baseline has a row of its own, without a ratio."""

    load: str
    metric: str
    variant: str
    value: Figure = Field(description="geometric mean over blocks, with a t interval over blocks")
    ratio: Figure = Field(description="variant / baseline, paired by block")
    blocks: int
    spread: float | None = Field(description="standard deviation of the blocks' log ratios")
    word: SpeedWord | None
    more_blocks: int | None = None
    reason: str | None = None


class PercentileRow(Row):
    metric: str
    percentile: str
    value: Figure


class LoadRow(Row):
    """What one variant's measured windows at one load held, all blocks together."""

    load: str
    variant: str
    blocks: int
    requests: int
    failed: int = Field(description="requests with any outcome but ok")
    percentiles: list[PercentileRow]


class MemoryRow(Row):
    """The largest value over the variant's load cells; `ready_s` is their median."""

    variant: str
    weights_bytes: Figure
    rss_bytes: Figure
    pss_bytes: Figure
    kv_cache_bytes: Figure
    ready_s: Figure


class NoiseRow(Row):
    """One comparison of the baseline with itself, measured again."""

    kind: Literal["speed", "task", "perplexity"]
    subject: str = Field(description="a load, `all loads`, a task or a corpus")
    effect: Figure = Field(description="speed and perplexity: ratio; task: change of accuracy")
    n: int | None = Field(description="blocks, items or tokens")
    lost: int | None = None
    gained: int | None = None
    kl_divergence: Figure | None = None


class NotMeasured(Row):
    what: str
    reason: str


class ExperimentInfo(Row):
    name: str
    model: str
    baseline: str
    engine: str


class Summary(Row):
    """Everything a reader of a comparison is told."""

    schema_version: Literal[1] = SCHEMA_VERSION
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
    environment: dict[str, Any]
    settings: dict[str, Any]
    artifacts: dict[str, dict[str, Any]]
    metrics: dict[str, dict[str, Any]]
    warnings: list[str]
    not_measured: list[NotMeasured]
