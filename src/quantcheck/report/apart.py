"""Quality of which only a figure and its error were imported: no items, no tokens, so an unpaired test, and said so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantcheck.report.cells import Cell
from quantcheck.report.summary import CorpusRow, Figure, TaskRow, Unpaired
from quantcheck.stats import minimum_detectable_difference
from quantcheck.stats.apart import ApartResult, compare_apart, judge_apart_perplexity, share_error
from quantcheck.stats.distributions import normal_quantile

__all__ = ["UNPAIRED", "Apart", "aggregate", "apart_corpus_row", "apart_row", "compare_cells", "unlike_work"]

UNPAIRED = "unpaired test: no per-item records on both sides"
SAME_BASE = 0.001
"""How closely a log's base must have the baseline's perplexity to be taken for it."""


def aggregate(cell: Cell | None) -> bool:
    """Whether the cell has figures alone, without items or tokens."""
    return cell is not None and bool(cell.record["result"].get("aggregate"))


def unlike_work(ours: Cell, theirs: Cell) -> str | None:
    """Names what two cells, at least one of them imported, say of their work and do not share; None where they agree.

    What one of them does not tell cannot differ. A task may come from two tools if its items' hashes say what was
    asked; anything else may not.
    """
    origins = [cell.record.get("imported") for cell in (ours, theirs)]
    if not any(origins):
        return None
    tools = [origin["tool"] if origin else "quantcheck" for origin in origins]
    hashed = not (aggregate(ours) or aggregate(theirs)) and all(
        "doc_hash" in cell.table("items") for cell in (ours, theirs))
    if tools[0] != tools[1] and not hashed:
        return f"measured by two tools: {tools[0]} and {tools[1]}"
    works: list[Mapping[str, Any]] = [origin["work"] if origin else {} for origin in origins]
    for name in works[0].keys() & works[1].keys():
        one, other = works[0][name], works[1][name]
        if one is not None and other is not None and one != other:
            return f"not the same work: {name} is {one} and {other}"
    return None


@dataclass(frozen=True, slots=True)
class Apart:
    """A task of two cells that do not pair."""

    result: ApartResult
    ours: Cell
    theirs: Cell


def compare_cells(ours: Cell, theirs: Cell, margin: float) -> Apart:
    """The unpaired comparison of two cells of one task, each with items or without."""
    sides = [_share(cell) for cell in (ours, theirs)]
    n = min(int(cell.record["result"]["n"]) for cell in (ours, theirs))
    return Apart(compare_apart(sides[0], sides[1], n, margin=margin), ours, theirs)


def _share(cell: Cell) -> tuple[float, float]:
    """Accuracy and its standard error: the one that was told, which knows of clusters, or that of n answers."""
    result = cell.record["result"]
    told = result.get("stderr")
    return float(result["accuracy"]), float(told or share_error(float(result["accuracy"]), int(result["n"])))


def apart_row(task: str, variant: str, found: Apart) -> TaskRow:
    """Without flips, which only paired items have; `unpaired` holds the test."""
    result = found.result
    return TaskRow(
        task=task, variant=variant, n=result.n,
        baseline_accuracy=Figure(value=float(found.ours.record["result"]["accuracy"])),
        accuracy=Figure(value=float(found.theirs.record["result"]["accuracy"])),
        delta=Figure(value=result.delta, low=result.low, high=result.high),
        lower_bound=result.lower_bound, upper_bound=result.upper_bound, lost=0, gained=0, p=None, p_safe=None,
        p_harmed=None, detectable=minimum_detectable_difference(min(result.item_spread, 1.0), result.n), groups=None,
        design_effect=None, word=None, unpaired=Unpaired(z=result.z, p=result.p, low=result.low, high=result.high),
    )  # fmt: skip


def apart_corpus_row(
    ours: Cell | None, theirs: Cell, corpus: str, variant: str, margin: float, why: str
) -> CorpusRow:
    """A corpus of which only the perplexity and its error are known, on one side or both; `why`: no baseline's cell.

    A log of llama-perplexity that was made against a base has the ratio paired by token: it is taken if the base has
    the baseline's perplexity, and its divergence and agreement are shown then.
    """
    result = theirs.record["result"]
    perplexity = _figure(float(result["perplexity"]), result.get("perplexity_se"))
    row: dict[str, Any] = {
        "corpus": corpus, "variant": variant, "tokens": int(result["tokens"]), "documents": 1, "unit": None, "units": 0,
        "context": result.get("context"), "stride": None, "perplexity": perplexity,
    }  # fmt: skip
    gone = Figure(reason=f"imported from {_tool(theirs)}: no divergence in its log")
    if ours is None:
        return CorpusRow(**row, ratio=Figure(reason=why), kl_divergence=gone, top1_agreement=gone, word=None,
                         reason=why)
    unlike = unlike_work(ours, theirs)
    if unlike is None and not (aggregate(ours) and aggregate(theirs)):
        unlike = "measured by two tools"
    if unlike:
        return CorpusRow(**row, ratio=Figure(reason=unlike), kl_divergence=gone, top1_agreement=gone,
                         word="not comparable", reason=unlike)
    base = ours.record["result"]
    reason = UNPAIRED.replace("item", "token")
    effect = float(np.log(result["perplexity"] / base["perplexity"]))
    error = float(np.hypot(result["perplexity_se"] / result["perplexity"], base["perplexity_se"] / base["perplexity"]))
    divergence, agreement = gone, gone
    if "log_ratio" in result:
        if abs(result["base_perplexity"] / base["perplexity"] - 1) <= SAME_BASE:
            effect, error = float(result["log_ratio"]), float(result["log_ratio_se"])
            reason = "paired by llama-perplexity itself, token by token"
            divergence, agreement = (_figure(float(result[key]), result[f"{key}_se"])
                                     for key in ("kl_divergence", "top1_agreement"))
        else:
            away = (f"the log's base has perplexity {result['base_perplexity']:.4f}, the baseline "
                    f"{base['perplexity']:.4f}: another model, or cut when it was stored")
            divergence = agreement = Figure(reason=away)
            reason = f"{reason}; {away}"
    half = float(normal_quantile(0.975)) * error
    ratio = Figure(value=float(np.exp(effect)), low=float(np.exp(effect - half)), high=float(np.exp(effect + half)))
    return CorpusRow(**row, ratio=ratio, kl_divergence=divergence, top1_agreement=agreement, reason=reason,
                     word=judge_apart_perplexity(effect, error, margin=margin))


def _figure(value: float, error: float | None) -> Figure:
    if error is None:
        return Figure(value=value, reason="no error is told")
    half = float(normal_quantile(0.975)) * error
    return Figure(value=value, low=value - half, high=value + half)


def _tool(cell: Cell) -> str:
    origin = cell.record.get("imported")
    return str(origin["tool"]) if origin else "quantcheck"
