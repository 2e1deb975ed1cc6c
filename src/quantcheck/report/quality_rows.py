"""The quality half of the view model: tasks paired by item, corpora paired by token."""

from typing import Literal

from pydantic import Field

from quantcheck.report.row import NO_FLOOR, Figure, QualityWord, Row

__all__ = ["CorpusRow", "NoiseRow", "QualitySummary", "Sampled", "SliceRow", "Stopped", "TaskRow", "Unpaired"]


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


class Unpaired(Row):
    """The same task as two unrelated samples: the pooled z-test, to show what pairing buys. No verdict uses it."""

    z: float
    p: float
    low: float = Field(description="two-sided 95% interval of the change of accuracy")
    high: float


class Stopped(Row):
    """A task under `stop: early`: the largest e-values over its looks. 1 / e is a p-value at any look."""

    items: int = Field(description="answered by the variant")
    of: int = Field(description="items that the task has")
    e_safe: float = Field(description="evidence that the loss is below the margin")
    e_harmed: float = Field(description="evidence that there is a loss")


class Sampled(Row):
    """Answers drawn at a temperature: where the variance of delta comes from, var = (item + draw / draws) / n."""

    draws: int = Field(description="answers per item")
    temperature: float
    top_p: float
    item_variance: float | None = Field(description="of the true difference between items; null with one draw")
    draw_variance: float | None = Field(description="of single answers within an item, both models' together")


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
    margin: float | None = Field(None, description="loss of accuracy that does not matter, a fraction")
    noise: Figure = Field(NO_FLOOR, description="the baseline's change of accuracy against itself")
    unpaired: Unpaired | None = Field(None, description="null where items could not be paired")
    stopped: Stopped | None = Field(None, description="null but under `stop: early`")
    sampled: Sampled | None = Field(None, description="null for a single greedy answer an item")
    cells: list[str] = Field([], description="folders under `cells/`: the variant's, then the baseline's")


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
    noise: Figure = Field(NO_FLOOR, description="the baseline's ratio against itself")
    kl_top: int | None = Field(
        None, description="kl_divergence is a lower bound, from so many likeliest tokens; null: over all tokens")
    kl_error: float | None = Field(
        None, description="how far half precision may have moved kl_divergence, at most, nats; null: not kept so")
    kl_gap: float | None = Field(
        None, description="full divergence minus kl_divergence, mean over kl_gap_tokens whose distributions were whole")
    kl_gap_tokens: int | None = None
    cells: list[str] = Field([], description="folders under `cells/`: the variant's, then the baseline's")


class SliceRow(Row):
    """One part of a task, one variant: exploratory, to find where a loss sits; no verdict rests on it."""

    task: str
    variant: str
    by: Literal["group", "prompt length", "language"]
    slice: str
    n: int
    delta: Figure = Field(description="change of accuracy; two-sided 95%, unadjusted")
    lost: int
    gained: int
    p: float | None = Field(description="exact McNemar, two-sided, unadjusted")
    q: float | None = Field(description="Benjamini-Hochberg over the variant's slices")
    reason: str | None = None


class NoiseRow(Row):
    """One comparison of the baseline with itself, measured again."""

    kind: Literal["speed", "task", "perplexity"]
    subject: str = Field(description="a load, `all loads`, a task or a corpus")
    effect: Figure = Field(description="speed and perplexity: ratio; task: change of accuracy")
    n: int | None = Field(description="blocks, items or tokens")
    lost: int | None = None
    gained: int | None = None
    kl_divergence: Figure | None = None
