"""Quality rows: tasks paired by item, corpora paired by token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantcheck.report.answers import Compared, compare_answers, sampled_row, unpaired_row
from quantcheck.report.apart import (
    UNPAIRED,
    Apart,
    aggregate,
    apart_corpus_row,
    apart_row,
    compare_cells,
    unlike_work,
)
from quantcheck.report.cells import Cell, CellIndex
from quantcheck.report.hashed import named_alike
from quantcheck.report.pairs import Pair, pair_cells, unlike_hashes
from quantcheck.report.records import cell_names
from quantcheck.report.stopped import judge_looks, looked
from quantcheck.report.summary import CorpusRow, Figure, Stopped, TaskRow
from quantcheck.stats import (
    Interval,
    judge_perplexity,
    judge_tasks,
    minimum_detectable_difference,
    perplexity,
    perplexity_ratio,
    token_mean,
    token_units,
)

__all__ = ["corpus_rows", "figure", "kl_label", "task_rows"]

BASELINE = "is the baseline"


def figure(interval: Interval) -> Figure:
    """An interval as a figure."""
    return Figure(value=interval.estimate, low=interval.low, high=interval.high, reason=interval.reason)


def missing_figure(reason: str) -> Figure:
    return Figure(value=None, reason=reason)


def task_rows(index: CellIndex, variant: str, floors: dict[str, float]) -> list[TaskRow]:
    """A row per task for one variant.

    `floors` is the baseline's change of accuracy against itself by task, as far as it was measured.
    """
    margin = index.experiment.policy.margin
    compared = {task: _compare(index, variant, task, margin.accuracy(task)) for task in index.tasks}
    usable = {task: found for task, found in compared.items() if not isinstance(found, str)}
    verdicts = judge_tasks({task: found.result for task, found in usable.items()}, floors=floors)
    rows = []
    for task, found in compared.items():
        if isinstance(found, str):
            rows.append(_unpaired_row(index, task, variant, found))
            continue
        verdict = verdicts[task]
        update = {
            "p_safe": verdict.p_safe,
            "p_harmed": verdict.p_harmed,
            "word": verdict.word,
            "more_items": verdict.more_items,
            "reason": verdict.reason,
            "margin": margin.accuracy(task),
        }
        if isinstance(found, Apart):
            update["reason"] = "; ".join(filter(None, (UNPAIRED, verdict.reason)))
        row = apart_row(task, variant, found) if isinstance(found, Apart) else _task_fields(task, variant, found)
        rows.append(row.model_copy(update=update))
    return [row.model_copy(update={"cells": _cells(index, variant, row.task)}) for row in rows]


def _cells(index: CellIndex, variant: str, subject: str) -> list[str]:
    """The variant's and the baseline's."""
    return cell_names(index.quality(name, subject) for name in dict.fromkeys((variant, index.baseline)))


@dataclass(frozen=True, slots=True)
class _Compared:
    """One task: the items, what they come to, and how they were asked where that was not once and to the end."""

    pair: Pair
    result: Compared
    stopped: Stopped | None
    sampling: dict[str, Any] | None


def _compare(index: CellIndex, variant: str, task: str, margin: float) -> _Compared | Apart | str:
    ours, theirs = index.quality(index.baseline, task), index.quality(variant, task)
    if ours is None:
        return f"baseline: {index.missing(index.baseline, task)}"
    if theirs is None:
        return index.missing(variant, task)
    unlike = unlike_work(ours, theirs)
    if unlike:
        return unlike
    if aggregate(ours) or aggregate(theirs):
        return unlike_hashes(ours, theirs) or compare_cells(ours, theirs, margin)
    pair = pair_cells(*named_alike(ours, theirs))
    if isinstance(pair, str):
        return pair
    looks, sampling = looked(ours, theirs, pair), theirs.record["result"].get("sampling")
    if isinstance(looks, str):
        return looks
    if looks is None:
        result = compare_answers(pair.baseline, pair.variant, margin=margin, groups=pair.groups)
        return _Compared(pair, result, None, sampling)
    # The order is random over all items: no groups here.
    result, stopped = judge_looks(compare_answers(pair.baseline, pair.variant, margin=margin), looks)
    return _Compared(pair, result, stopped, sampling)


def _task_fields(task: str, variant: str, found: _Compared) -> TaskRow:
    result, pair = found.result, found.pair
    flips = result.flips
    return TaskRow(
        task=task,
        variant=variant,
        n=flips.n,
        baseline_accuracy=Figure(value=float(pair.baseline.mean())),
        accuracy=Figure(value=float(pair.variant.mean())),
        delta=Figure(value=result.delta, low=result.low, high=result.high),
        lower_bound=result.lower_bound,
        upper_bound=result.upper_bound,
        lost=flips.lost,
        gained=flips.gained,
        p=result.p if found.stopped is None else None,
        p_safe=None,
        p_harmed=None,
        detectable=minimum_detectable_difference(result.item_spread, flips.n),
        groups=result.groups,
        design_effect=result.design_effect,
        word=None,
        unpaired=unpaired_row(pair),
        stopped=found.stopped,
        sampled=sampled_row(result, found.sampling),
    )


def _unpaired_row(index: CellIndex, task: str, variant: str, reason: str) -> TaskRow:
    ours, theirs = index.quality(index.baseline, task), index.quality(variant, task)
    return TaskRow(
        task=task,
        variant=variant,
        n=0 if theirs is None else int(theirs.record["result"]["n"]),
        baseline_accuracy=_stored(ours, "accuracy", reason),
        accuracy=_stored(theirs, "accuracy", reason),
        delta=missing_figure(reason),
        lower_bound=None,
        upper_bound=None,
        lost=0,
        gained=0,
        p=None,
        p_safe=None,
        p_harmed=None,
        detectable=None,
        groups=None,
        design_effect=None,
        word=None if ours is None or theirs is None else "not comparable",
        reason=reason,
    )


def _stored(cell: Cell | None, key: str, reason: str) -> Figure:
    return missing_figure(reason) if cell is None else Figure(value=float(cell.record["result"][key]))


def corpus_rows(index: CellIndex, variant: str, floors: dict[str, float]) -> list[CorpusRow]:
    """A row per corpus for one variant (the baseline's own too).

    `floors` is the baseline's perplexity ratio against itself, minus 1, by corpus.
    """
    rows = [_corpus_row(index, variant, corpus, floors.get(corpus)) for corpus in index.corpora]
    return [row.model_copy(update={"cells": _cells(index, variant, row.corpus)}) for row in rows]


def kl_label(rows: Sequence[CorpusRow]) -> str:
    """What the divergences of `rows` are: over the full vocabulary, or lower bounds and of what."""
    tops = sorted({row.kl_top for row in rows if row.kl_top is not None})
    return f"KL (lower bound, top {', '.join(map(str, tops))})" if tops else "KL divergence"


def _corpus_row(index: CellIndex, variant: str, corpus: str, floor: float | None) -> CorpusRow:
    ours, theirs = index.quality(index.baseline, corpus), index.quality(variant, corpus)
    if theirs is None:
        reason = index.missing(variant, corpus)
        gone = missing_figure(reason)
        return CorpusRow(
            corpus=corpus, variant=variant, tokens=0, documents=0, unit=None, units=0, context=None, stride=None,
            perplexity=gone, ratio=gone, kl_divergence=gone, top1_agreement=gone, word=None, reason=reason,
        )  # fmt: skip
    if aggregate(theirs) or aggregate(ours):
        why = f"baseline: {index.missing(index.baseline, corpus)}"
        return apart_corpus_row(ours, theirs, corpus, variant, index.experiment.policy.margin.perplexity_ratio, why)
    result, tokens = theirs.record["result"], theirs.table("tokens")
    units = token_units(tokens["document"])
    nll = np.asarray(tokens["nll"], dtype=np.float64)
    fields: dict[str, Any] = {
        "corpus": corpus,
        "variant": variant,
        "tokens": len(nll),
        "documents": len(np.unique(tokens["document"])),
        "unit": units.kind,
        "units": units.count,
        "context": result.get("context"),
        "stride": result.get("stride"),
        "perplexity": figure(perplexity(nll, units)),
        "word": None,
        **{name: result.get(name) for name in ("kl_top", "kl_error", "kl_gap", "kl_gap_tokens")},
    }
    if variant == index.baseline:
        same = missing_figure(BASELINE)
        return CorpusRow(**fields, ratio=same, kl_divergence=same, top1_agreement=same)
    for key, column in (("kl_divergence", "kl"), ("top1_agreement", "top1")):
        if column in tokens:
            fields[key] = figure(token_mean(np.asarray(tokens[column], dtype=np.float64), units))
        else:
            fields[key] = missing_figure("no divergence stored with this cell")
    unlike = _unlike_tokens(index, ours, theirs, corpus)
    if ours is None or unlike:
        fields["word"] = None if ours is None else "not comparable"
        return CorpusRow(**fields, ratio=missing_figure(unlike), reason=unlike)
    reference = np.asarray(ours.table("tokens")["nll"], dtype=np.float64)
    margin = index.experiment.policy.margin.perplexity_ratio
    fields["word"], fields["more_units"] = judge_perplexity(reference, nll, units, margin=margin, floor=floor)
    ratio = figure(perplexity_ratio(reference, nll, units))
    return CorpusRow(**fields, ratio=ratio, reason=ratio.reason)


def _unlike_tokens(index: CellIndex, ours: Cell | None, theirs: Cell, corpus: str) -> str:
    if ours is None:
        return f"baseline: {index.missing(index.baseline, corpus)}"
    unlike = unlike_hashes(ours, theirs)
    if unlike:
        return unlike
    if not np.array_equal(ours.table("tokens")["document"], theirs.table("tokens")["document"]):
        return "the two were not scored on the same tokens"
    return ""
