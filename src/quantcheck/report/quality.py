"""Quality rows: tasks paired by item, corpora paired by token."""

from typing import Any

import numpy as np
import numpy.typing as npt

from quantcheck.report.cells import Cell, CellIndex
from quantcheck.report.summary import CorpusRow, Figure, TaskRow
from quantcheck.stats import (
    Interval,
    PairedResult,
    compare_items,
    judge_perplexity,
    judge_tasks,
    minimum_detectable_difference,
    perplexity,
    perplexity_ratio,
    token_mean,
    token_units,
)

__all__ = ["corpus_rows", "figure", "pair_items", "task_rows"]

BASELINE = "is the baseline"
HASH = "_sha256"
"""A result's keys that end so are hashes of the work: the same for every variant, or nothing is comparable."""


def figure(interval: Interval) -> Figure:
    """An interval as a figure."""
    return Figure(value=interval.estimate, low=interval.low, high=interval.high, reason=interval.reason)


def missing_figure(reason: str) -> Figure:
    return Figure(value=None, reason=reason)


Paired = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], list[str] | None]


def pair_items(baseline: Cell, variant: Cell) -> Paired | str:
    """(baseline right [n], variant right [n], groups [n] or None), item by item; a sentence if they do not pair."""
    unlike = unlike_hashes(baseline, variant)
    if unlike:
        return unlike
    ours, theirs = baseline.table("items"), variant.table("items")
    ids, other = (np.asarray(t["id"]).astype(str) for t in (ours, theirs))
    order, other_order = np.argsort(ids, kind="stable"), np.argsort(other, kind="stable")
    if len(ids) != len(other) or not np.array_equal(ids[order], other[other_order]):
        return "the two were not asked the same items"
    groups = [str(g) for g in np.asarray(ours["group"])[order]]
    right = np.asarray(ours["right"], dtype=np.bool_)[order]
    return right, np.asarray(theirs["right"], dtype=np.bool_)[other_order], groups if any(groups) else None


def unlike_hashes(baseline: Cell, variant: Cell) -> str | None:
    """Names the work whose stored hashes differ between two cells; None when all hashes that both have agree."""
    ours, theirs = baseline.record["result"], variant.record["result"]
    unlike = sorted(k for k in ours.keys() & theirs.keys() if k.endswith(HASH) and ours[k] != theirs[k])
    return f"not the same work: {', '.join(k.removesuffix(HASH) for k in unlike)} differ" if unlike else None


def task_rows(index: CellIndex, variant: str, floors: dict[str, float]) -> tuple[list[TaskRow], Paired | None]:
    """A row per task for one variant, and all its items together (groups named within their task).

    `floors` is the baseline's change of accuracy against itself by task, as far as it was measured.
    """
    margin = index.experiment.policy.margin.accuracy_pp / 100
    pairs: dict[str, Paired | str] = {}
    for task in index.tasks:
        cells = index.quality(index.baseline, task), index.quality(variant, task)
        if cells[0] is None:
            pairs[task] = f"baseline: {index.missing(index.baseline, task)}"
        elif cells[1] is None:
            pairs[task] = index.missing(variant, task)
        else:
            pairs[task] = pair_items(cells[0], cells[1])
    usable = {task: pair for task, pair in pairs.items() if not isinstance(pair, str)}
    results = {t: compare_items(p[0], p[1], margin=margin, groups=p[2]) for t, p in usable.items()}
    verdicts = judge_tasks(results, floors=floors)
    rows = []
    for task, pair in pairs.items():
        if isinstance(pair, str):
            rows.append(_unpaired_row(index, task, variant, pair))
            continue
        verdict = verdicts[task]
        rows.append(
            _task_fields(task, variant, results[task]).model_copy(
                update={
                    "p_safe": verdict.p_safe,
                    "p_harmed": verdict.p_harmed,
                    "word": verdict.word,
                    "more_items": verdict.more_items,
                    "reason": verdict.reason,
                }
            )
        )
    return rows, _together(usable)


def _task_fields(task: str, variant: str, result: PairedResult) -> TaskRow:
    flips = result.flips
    return TaskRow(
        task=task,
        variant=variant,
        n=flips.n,
        baseline_accuracy=Figure(value=(flips.both + flips.lost) / flips.n),
        accuracy=Figure(value=(flips.both + flips.gained) / flips.n),
        delta=Figure(value=flips.delta, low=result.low, high=result.high),
        lower_bound=result.lower_bound,
        upper_bound=result.upper_bound,
        lost=flips.lost,
        gained=flips.gained,
        p=result.p,
        p_safe=None,
        p_harmed=None,
        detectable=minimum_detectable_difference((flips.lost + flips.gained + 1) / (flips.n + 2), flips.n),
        groups=result.groups,
        design_effect=result.design_effect,
        word=None,
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


def _together(pairs: dict[str, Paired]) -> Paired | None:
    if not pairs:
        return None
    groups: list[str] = []
    for task, (right, _, names) in pairs.items():
        # An item without a group is a group of its own.
        own = names or [str(i) for i in range(len(right))]
        groups += [f"{task}\0{name}" for name in own]
    right = np.concatenate([p[0] for p in pairs.values()])
    return right, np.concatenate([p[1] for p in pairs.values()]), groups


def corpus_rows(index: CellIndex, variant: str, floors: dict[str, float]) -> list[CorpusRow]:
    """A row per corpus for one variant (the baseline's own too).

    `floors` is the baseline's perplexity ratio against itself, minus 1, by corpus.
    """
    return [_corpus_row(index, variant, corpus, floors.get(corpus)) for corpus in index.corpora]


def _corpus_row(index: CellIndex, variant: str, corpus: str, floor: float | None) -> CorpusRow:
    ours, theirs = index.quality(index.baseline, corpus), index.quality(variant, corpus)
    if theirs is None:
        reason = index.missing(variant, corpus)
        gone = missing_figure(reason)
        return CorpusRow(
            corpus=corpus, variant=variant, tokens=0, documents=0, unit=None, units=0, context=None, stride=None,
            perplexity=gone, ratio=gone, kl_divergence=gone, top1_agreement=gone, word=None, reason=reason,
        )  # fmt: skip
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
