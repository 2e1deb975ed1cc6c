"""Scoring one corpus in a job: the baseline leaves its distributions in a file, a variant is compared with them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.filesize import decimal

from quantcheck.engines.scorer import Scorer, TopScorer
from quantcheck.errors import ModelError, StoreError
from quantcheck.quality.divergence import BaselineLogits, BaselineTop, LogitsWriter
from quantcheck.quality.kept_top import FULL_BYTES, KeptTop, TopWriter
from quantcheck.quality.perplexity import TokenScores, score_windows, score_windows_top
from quantcheck.quality.windows import Window

__all__ = ["is_kept", "kl_kind", "piece_of", "score_corpus"]

TOP_SUFFIX = ".npz"


def is_kept(path: Path) -> bool:
    """Whether the baseline's distributions are there: all logits at `path`, or the likeliest tokens beside it."""
    return path.exists() or path.with_suffix(TOP_SUFFIX).exists()


def piece_of(path: Path, span: tuple[int, int]) -> Path:
    """Where the logits of some windows of a corpus are kept alone, beside `path` for those of all."""
    return path.with_name(f"{path.stem}.{span[0]}-{span[1]}{path.suffix}")


def score_corpus(
    scorer: Scorer | TopScorer, name: str, cut: Sequence[Window], path: Path | None, *,
    role: Literal["baseline", "variant"], model: Path, divergence: Literal["full", "top-k"] | None,
    progress: Callable[[int, int], None], span: tuple[int, int] | None = None,
) -> TokenScores:
    """The scores of the corpus `name`, `cut` into windows; `model` is for messages.

    `span`: only the windows from the first place to the second, which is not included; none: all. `progress` is told
    tokens scored, and tokens of the corpus.

    `path`: where the baseline's logits are; none: nothing is kept nor compared. Those of a span alone are kept beside
    it, at `piece_of` it; a variant looks there where there is nothing at `path`. With `divergence` top-k, or without
    one and above `FULL_BYTES`, the likeliest tokens are kept instead, as .npz beside it.
    Raises `StoreError` when they have no room on the disk, `ModelError` when the two were not given the same tokens.
    """
    total = sum(window.scored for window in cut)
    everything = 0, len(cut)
    begin, end = span or everything
    before = sum(window.scored for window in cut[:begin])
    cut = cut[begin:end]
    kept, skipped = total, before
    if path is not None and (begin, end) != everything and (role == "baseline" or not is_kept(path)):
        path, kept, skipped = piece_of(path, (begin, end)), sum(window.scored for window in cut), 0

    def tokens_done(done: int) -> None:
        progress(done, total)

    if isinstance(scorer, TopScorer):
        if path is None or role == "baseline":
            return score_windows_top(scorer, cut, save=path, progress=tokens_done)
        top = BaselineTop(path, scorer.vocab_size, scorer.top_k)
        _same_tokens(name, model, kept, top.count)
        top.skip(skipped)
        return score_windows_top(scorer, cut, baseline=top, progress=tokens_done)
    if path is None:
        return score_windows(scorer, cut, progress=tokens_done)
    if role == "baseline":
        with _writer(path, name, total, scorer.vocab_size, divergence, before) as save:
            return score_windows(scorer, cut, save=save, progress=tokens_done)
    beside = path.with_suffix(TOP_SUFFIX)
    baseline = BaselineLogits(path, scorer.vocab_size) if path.exists() else KeptTop(beside, scorer.vocab_size)
    _same_tokens(name, model, kept, baseline.count)
    baseline.skip(skipped)
    return score_windows(scorer, cut, baseline=baseline, progress=tokens_done)


def kl_kind(scores: TokenScores) -> dict[str, Any]:
    """What `kl_divergence` is, for a cell's result: nothing where there is none.

    `kl_error`: how far half precision may have moved it, at most; `kl_gap`: how much the full divergence is above it,
    over the `kl_gap_tokens` whose whole distributions were kept.
    """
    if scores.kl is None:
        return {}
    if scores.kl_top is None:
        return {"kl_kind": "full"}
    found: dict[str, Any] = {"kl_kind": "top-k lower bound", "kl_top": scores.kl_top}
    if scores.kl_error is not None and scores.kl_gaps is not None:
        gap = float(scores.kl_gaps.mean()) if len(scores.kl_gaps) else None
        found |= {"kl_error": float(scores.kl_error.mean()), "kl_gap": gap, "kl_gap_tokens": len(scores.kl_gaps)}
    return found


def _writer(
    path: Path, name: str, total: int, vocabulary: int, divergence: Literal["full", "top-k"] | None, before: int = 0
) -> LogitsWriter | TopWriter:
    need = total * vocabulary * 4
    if divergence == "top-k" or (divergence is None and need > FULL_BYTES):
        return TopWriter(path.with_suffix(TOP_SUFFIX), total, vocabulary, before=before)
    free = shutil.disk_usage(path.parent).free
    if need > free:
        raise StoreError(
            f"{path.parent}: the baseline's logits on {name} need {decimal(need)}, {decimal(free)} are free; free "
            "disk space, keep less of them (quality.divergence: top-k), or score fewer tokens "
            "(quality.texts.NAME.tokens, quality.tokens)"
        )
    return LogitsWriter(path)


def _same_tokens(name: str, model: Path, total: int, baseline: int) -> None:
    """Raises `ModelError` when the `baseline` was scored on another number of tokens."""
    if baseline != total:
        raise ModelError(
            f"{name}: {model} cuts the text into {total} scored tokens, the baseline into {baseline}: their tokenizers "
            "differ, so they cannot be compared"
        )
