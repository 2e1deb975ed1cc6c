"""Rows of the view model that show damage itself: where a distribution moved, on which tokens, and what is written."""

from typing import Literal

from pydantic import Field

from quantcheck.report.row import NO_FLOOR, Figure, Row

__all__ = ["ChangedRow", "ContinuationRow", "DamageRow", "WorstTokenRow"]


class DamageRow(Row):
    """One part of a corpus, one variant: exploratory, to find where damage sits; no verdict rests on it.

    `by`: `position`, the token's place in its document; `confidence`, the probability of the baseline's likeliest
    token; `worst document`, one document; `document quantile`, over the documents' own means.
    """

    corpus: str
    variant: str
    by: Literal["position", "confidence", "worst document", "document quantile"]
    part: str = Field(description="in words, e.g. `tokens 1 to 31`, `0.5 to 0.9`, `document 17`, `median`")
    low: float | None = Field(description="the bin's lower end, inside; of a quantile or a document its number")
    high: float | None = Field(description="the bin's upper end, outside but for a confidence of 1; null: no end")
    tokens: int
    documents: int
    kl_divergence: Figure = Field(description="mean over the part's tokens, nats; 95% clustered by document")
    top1_agreement: Figure
    nll_change: Figure = Field(description="variant minus baseline, nats per token")
    kl_share: float | None = Field(description="of the corpus's summed KL; null for a quantile")


class WorstTokenRow(Row):
    """One of the scored tokens with the largest divergence. Texts are decoded, broken UTF-8 replaced, and cut."""

    corpus: str
    variant: str
    rank: int = Field(description="1 is the largest divergence")
    document: int
    position: int = Field(description="the token's index in its document, from 0")
    kl_divergence: float = Field(description="nats; a lower bound where the corpus's row says so")
    before: str = Field(description="the end of the text before it")
    token: str = Field(description="the token that is there")
    baseline_p: float | None = Field(description="what the baseline gave it; null: not among the likeliest it tells")
    variant_p: float | None = Field(description="what the variant gave it")
    baseline_likeliest: str
    baseline_likeliest_p: float
    variant_likeliest: str
    variant_likeliest_p: float


class ContinuationRow(Row):
    """Greedy continuations of the same prompts, one variant against the baseline, token by token."""

    variant: str
    prompts: int
    max_tokens: int | None = Field(description="the longest continuation")
    agreement: Figure = Field(description="share of prompts with the same continuation to its end; 95%, Wilson")
    noise: Figure = Field(NO_FLOOR, description="the baseline's agreement with itself")
    first_divergence: Figure = Field(description="median index of the first other token, from 0, where there is one")
    same_share: Figure = Field(description="mean share of the continuation before its first other token")
    length_ratio: Figure = Field(description="tokens written, variant / baseline, over all prompts")
    reason: str | None = None


class ChangedRow(Row):
    """One of the prompts whose continuation changed most: the prompt's end, and the first 4,000 characters of both."""

    variant: str
    rank: int = Field(description="1 has the least in common with the baseline's")
    id: str
    prompt: str
    baseline_text: str
    variant_text: str
    first_divergence: int = Field(description="index of the first other token, from 0")
    character: int = Field(description="where the two texts part, in characters (code points) from 0")
    common: float = Field(description="share of the first 256 tokens in common, in order: 2 x matching / all of "
                                      "both")
    baseline_tokens: int
    variant_tokens: int
