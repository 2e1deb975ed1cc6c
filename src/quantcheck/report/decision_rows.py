"""The decision in the view model: conditions of the policy, costs, frontiers."""

from typing import Literal

from pydantic import Field

from quantcheck.report.row import Clause, CostWord, DecisionWord, Figure, Row

__all__ = ["Condition", "CostRow", "DecisionRow", "FrontierRow", "LoadCostRow"]


class CostRow(Row):
    """What tokens of one workload cost with one variant, USD per million, at the price that the policy assumes.

    `output`, `input` and `blended` divide the same hour by its output tokens, its input tokens, or both.
    """

    workload: str
    variant: str
    hour_usd: float = Field(description="of all accelerators that the variant takes: an assumption")
    gpus: int
    basis: Literal["slo", "highest throughput"] = Field(description="which load the cost is taken at")
    at: str | None = Field(description="that load, in words; null where there is none")
    output: Figure
    input: Figure
    blended: Figure
    making: Figure = Field(description="USD per million tokens for making the variant, once, over amortise_tokens")
    total: Figure = Field(description="output and making")
    ratio: Figure = Field(description="output, variant / baseline, paired by block")
    word: CostWord | None
    reason: str | None = None


class LoadCostRow(Row):
    """What output tokens cost at one load with one variant, USD per million; the baseline has a row without a ratio."""

    load: str
    variant: str
    output: Figure
    ratio: Figure = Field(description="variant / baseline, paired by block")
    word: CostWord | None
    reason: str | None = None


class FrontierRow(Row):
    """One point of a Pareto frontier. Dominated: another is a finding better on one axis, on none a finding worse."""

    frontier: Literal["quality against size", "throughput against latency", "cost against quality"]
    workload: str | None = Field(description="null where the axes are no workload's")
    variant: str
    load: str | None = Field(description="of throughput against latency, where a load is a point")
    x: Figure = Field(description="size: bytes; latency: s; cost: USD per million output tokens")
    y: Figure = Field(description="change of accuracy, or perplexity ratio; throughput: tokens/s")
    on: bool | None = Field(description="null where the point has no place, for want of a figure")
    dominated_by: list[str]
    reason: str | None = None


class Condition(Row):
    """One condition of the policy, held against one variant."""

    key: str = Field(description="quality:TASK, perplexity:CORPUS, speed, slo:WORKLOAD, memory, cost:WORKLOAD")
    asks: str
    found: str
    state: Literal["met", "not met", "open"]
    source: str = Field(description="JSON pointer of what was held against it")


class DecisionRow(Row):
    """`do not ship`: a condition is not met. `inconclusive`: none is missed and one is open. `ship`: all are met."""

    variant: str
    word: DecisionWord
    sentence: str
    clauses: list[Clause]
    conditions: list[Condition]
