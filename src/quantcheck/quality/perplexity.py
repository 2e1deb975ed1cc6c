"""Perplexity by sliding window, with the divergence from the baseline on the same tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantcheck.engines.scorer import FloatArray, IntArray, Scorer, TopLogprobs, TopScorer, log_sum
from quantcheck.quality.divergence import (
    BaselineLogits,
    BaselineTop,
    LogitsWriter,
    kl_divergence,
    kl_lower_bound,
    save_top,
)
from quantcheck.quality.kept_top import KeptTop, TopWriter, kl_of_kept
from quantcheck.quality.windows import Window
from quantcheck.quality.worst import Likely, WorstToken, WorstTokens, likely_of_logits, likely_of_top

__all__ = ["TokenScores", "score_windows", "score_windows_top"]


@dataclass(frozen=True, slots=True)
class TokenScores:
    """One value per scored token, in the order of the windows.

    `nll` is -log p in nats; `kl` and `top1` compare with the baseline and are None for the baseline itself. `kl_top`:
    `kl` is a lower bound from so many likeliest tokens; None: it is over the full vocabulary. `confidence`: the
    probability of the model's own likeliest token. `worst`: the tokens with the largest `kl`. `kl_error`, `kl_gaps`: as
    `KeptDivergence` has them, where the baseline was kept so.
    """

    document: NDArray[np.int32]
    nll: NDArray[np.float64]
    kl: NDArray[np.float64] | None
    top1: NDArray[np.bool_] | None
    confidence: NDArray[np.float32]
    kl_top: int | None = None
    worst: Sequence[WorstToken] = ()
    kl_error: NDArray[np.float64] | None = None
    kl_gaps: NDArray[np.float64] | None = None

    @property
    def perplexity(self) -> float:
        return float(np.exp(self.nll.mean()))

    def table(self) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any]] = {"document": self.document, "nll": self.nll,
                                              "confidence": self.confidence}
        if self.kl is not None and self.top1 is not None:
            columns |= {"kl": self.kl, "top1": self.top1}
        return columns


def score_windows(
    scorer: Scorer,
    windows: Sequence[Window],
    *,
    save: LogitsWriter | TopWriter | None = None,
    baseline: BaselineLogits | KeptTop | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> TokenScores:
    """Score `windows`; keep the logits with `save`, or compare them with the `baseline`'s.

    `progress` is called with the number of tokens scored so far.
    """
    document: list[NDArray[np.int32]] = []
    nll: list[NDArray[np.float64]] = []
    kl: list[NDArray[np.float64]] = []
    top1: list[NDArray[np.bool_]] = []
    confidence: list[NDArray[np.floating[Any]]] = []
    error: list[NDArray[np.float64]] = []
    gaps: list[NDArray[np.float64]] = []
    worst = WorstTokens()
    done = 0
    skip = [len(window.tokens) - window.scored - 1 for window in windows]
    for window, rows in zip(windows, scorer.logits([window.tokens for window in windows], skip), strict=True):
        logits = rows[:-1]
        targets = window.tokens[-window.scored :]
        total = log_sum(logits)
        nll.append(total - logits[np.arange(window.scored), targets])
        confidence.append(np.exp(logits.max(axis=-1) - total))
        document.append(np.full(window.scored, window.document, dtype=np.int32))
        if save is not None:
            save.append(logits)
        if isinstance(baseline, KeptTop):
            kept = baseline.take(window.scored)
            found = kl_of_kept(kept, logits)
            kl.append(found.kl)
            top1.append(found.top1)
            error.append(found.error)
            gaps.append(found.gaps)
            worst.offer(window, found.kl, partial(_of_kept, kept.top, logits, targets))
        elif baseline is not None:
            expected = baseline.take(window.scored)
            divergence, agree = kl_divergence(expected, logits)
            kl.append(divergence)
            top1.append(agree)
            worst.offer(window, divergence, partial(_of_logits, expected, logits, targets))
        done += window.scored
        progress(done)
    return TokenScores(
        np.concatenate(document),
        np.concatenate(nll),
        np.concatenate(kl) if baseline is not None else None,
        np.concatenate(top1) if baseline is not None else None,
        np.concatenate(confidence).astype(np.float32),
        baseline.top_k if isinstance(baseline, KeptTop) else None,
        worst.found,
        np.concatenate(error) if error else None,
        np.concatenate(gaps) if gaps else None,
    )


def _of_logits(baseline: FloatArray, variant: FloatArray, targets: IntArray, row: int) -> tuple[Likely, Likely]:
    own = int(targets[row])
    return likely_of_logits(baseline[row], own), likely_of_logits(variant[row], own)


def _of_kept(baseline: TopLogprobs, variant: FloatArray, targets: IntArray, row: int) -> tuple[Likely, Likely]:
    own = int(targets[row])
    return likely_of_top(baseline, row, own), likely_of_logits(variant[row], own)


def score_windows_top(
    scorer: TopScorer,
    windows: Sequence[Window],
    *,
    save: Path | None = None,
    baseline: BaselineTop | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> TokenScores:
    """As `score_windows`, by a scorer that knows the likeliest tokens only; `save`: the file that keeps them."""
    nll: list[NDArray[np.float64]] = []
    kept: list[TopLogprobs] = []
    kl: list[NDArray[np.float64]] = []
    top1: list[NDArray[np.bool_]] = []
    confidence: list[NDArray[np.float64]] = []
    worst = WorstTokens()
    done = 0
    answers = scorer.prompt_logprobs([window.tokens for window in windows])
    for window, found in zip(windows, answers, strict=True):
        last = slice(len(found.own) - window.scored, None)
        rows = TopLogprobs(found.own[last], found.ids[last], found.logprobs[last])
        nll.append(-rows.own)
        confidence.append(np.exp(rows.logprobs[:, 0]))
        if save is not None:
            kept.append(rows)
        if baseline is not None:
            expected = baseline.take(window.scored)
            divergence, agree = kl_lower_bound(expected, rows, scorer.vocab_size)
            kl.append(divergence)
            top1.append(agree)
            worst.offer(window, divergence, partial(_of_top, expected, rows, window.tokens[-window.scored :]))
        done += window.scored
        progress(done)
    if save is not None:
        save_top(save, kept, scorer.vocab_size)
    return TokenScores(
        np.concatenate([np.full(window.scored, window.document, dtype=np.int32) for window in windows]),
        np.concatenate(nll),
        np.concatenate(kl) if baseline is not None else None,
        np.concatenate(top1) if baseline is not None else None,
        np.concatenate(confidence).astype(np.float32),
        scorer.top_k,
        worst.found,
    )


def _of_top(baseline: TopLogprobs, variant: TopLogprobs, targets: IntArray, row: int) -> tuple[Likely, Likely]:
    own = int(targets[row])
    return likely_of_top(baseline, row, own), likely_of_top(variant, row, own)
