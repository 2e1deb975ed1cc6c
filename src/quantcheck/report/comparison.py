"""What `quantcheck compare` says of two runs: the view model that its renderings share, and its JSON document."""

from typing import Any, Literal

from pydantic import Field

from quantcheck.report.row import Row
from quantcheck.report.summary import CorpusRow, Figure, QualitySummary, SpeedWord, TaskRow

__all__ = ["SCHEMA_VERSION", "Difference", "RunComparison", "RunInfo", "RunQualitySummary", "RunSpeedRow", "RunTaskRow",
           "VariantComparison"]

SCHEMA_VERSION: Literal[1] = 1


class Difference(Row):
    """Something beside the variants in which two runs differ."""

    what: str
    a: str
    b: str
    concerns: Literal["all", "speed", "tasks", "perplexity"] = Field(description="which figures it makes incomparable")


class RunInfo(Row):
    """One side of a comparison of two runs."""

    folder: str
    experiment: str
    model: str
    engine: str
    quantcheck: str | None
    hardware: str | None


class RunSpeedRow(Row):
    """One metric at one load in two runs: blocks are not paired, so the interval is Welch's."""

    load: str = Field(description="a load, or `all loads` (geometric mean)")
    metric: str
    a: Figure = Field(description="geometric mean over blocks, with a t interval over blocks")
    b: Figure
    ratio: Figure = Field(description="b / a")
    blocks: tuple[int, int]
    moved: Figure = Field(description="b / a of the runs' common baseline: what moved between the runs")
    adjusted: Figure = Field(description="ratio / moved, from each run's blocks paired with their baseline; a "
                             "word other than `inconclusive` takes that ratio and adjusted both come out so")
    word: SpeedWord | None
    more_blocks: int | None = Field(None, description="in each run")
    reason: str | None = None


class RunTaskRow(TaskRow):
    """One task in two runs, paired by item where both have items."""

    paired: bool = Field(description="false: one side has a score without items; then `unpaired` is the test, and "
                         "nothing is lost or gained by item")
    lost: int | None  # type: ignore[assignment]
    gained: int | None  # type: ignore[assignment]


class RunQualitySummary(QualitySummary):
    """All tasks of two runs together; `lost` and `gained` are null where a task is not paired."""

    lost: int | None  # type: ignore[assignment]
    gained: int | None  # type: ignore[assignment]


class VariantComparison(Row):
    """A variant of run A (taken as the baseline) and a variant of run B."""

    a: str
    b: str
    same_file: bool = Field(description="the artifacts have the same hash: what differs is no property of theirs")
    sentence: str
    quality: RunQualitySummary
    speed: RunSpeedRow | None = Field(description="output throughput, all loads; null when no load is common to both")
    tasks: list[RunTaskRow]
    corpora: list[CorpusRow]
    loads: list[RunSpeedRow]


class RunComparison(Row):
    """What `quantcheck compare` says."""

    schema_version: Literal[1] = SCHEMA_VERSION
    a: RunInfo
    b: RunInfo
    differences: list[Difference]
    forced: bool = Field(description="figures are shown where they are not comparable, without words")
    variants: list[VariantComparison]
    margin: dict[str, Any] = Field(description="run A's")
    notes: list[str]
