"""The same weights under two engines: whether weights or kernels did the damage."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from quantcheck.report.grids import Column, Grid, Item
from quantcheck.report.quality import figure
from quantcheck.report.row import Figure, Row
from quantcheck.stats import token_mean, token_units

__all__ = ["ThroughReport", "through_grid", "through_lines", "through_report"]

MOST, LEAST = 0.8, 0.2
"""Of the damage: what stays under the second engine from the one share on is of the weights, up to the other of the
kernels; between them it is of both."""

Comparison = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]
Culprit = Literal["weights", "kernels", "both", "none", "undecided"]


class PairRow(Row):
    """One pair of scorings. `kl_divergence`: of the second from the first, nats per token; `top1`: share of tokens."""

    what: str
    kl_divergence: Figure
    top1: Figure


class ThroughReport(Row):
    """`pairs`: the variant from the baseline under each engine, then each model under the second from the first."""

    variant: str
    baseline: str
    engine: str
    through: str
    corpus: str
    tokens: int
    unit: str = Field(description="what intervals count as independent: documents, or segments of one")
    top_k: int | None = Field(description="every divergence is a lower bound from so many likeliest tokens; none: full")
    pairs: list[PairRow]
    kernels: Figure = Field(description="damage under the first engine minus that under the second, token by token")
    share: float | None = Field(description="of the damage under the first engine, what is there under the second, too")
    culprit: Culprit


def through_report(
    found: Mapping[str, Comparison], document: npt.NDArray[np.integer], *, variant: str, baseline: str,
    engines: tuple[str, str], corpus: str, top_k: int | None,
) -> ThroughReport:
    """The report from KL and top-1 agreement [tokens] of four comparisons.

    `found`: `here` and `there`, the variant from the baseline under the first and the second engine; `baseline` and
    `variant`, that model under the second engine from itself under the first.
    """
    units = token_units(document)
    first, second = engines if engines[0] != engines[1] else (engines[0], f"{engines[1]} (second)")
    titles = {"here": f"{variant} from {baseline}, {first}", "there": f"{variant} from {baseline}, {second}",
              "baseline": f"{baseline}, {second} from {first}", "variant": f"{variant}, {second} from {first}"}

    def mean(values: npt.NDArray[np.generic]) -> Figure:
        return figure(token_mean(values.astype(np.float64), units))

    pairs = [PairRow(what=title, kl_divergence=mean(found[name][0]), top1=mean(found[name][1]))
             for name, title in titles.items()]
    kernels = mean(found["here"][0] - found["there"][0])
    here, there, floor, _ = (float(found[name][0].mean()) for name in titles)
    # Rounding between two engines is no damage: what the same baseline shows under both is its size.
    share = there / here if here > 0 else None
    return ThroughReport(
        variant=variant, baseline=baseline, engine=first, through=second, corpus=corpus, tokens=len(document),
        unit=units.kind, top_k=top_k, pairs=pairs, kernels=kernels, share=share,
        culprit=_culprit(here, there, floor, kernels))


def _culprit(here: float, there: float, floor: float, kernels: Figure) -> Culprit:
    if max(here, there) <= floor:
        return "none"
    share = there / here if here > 0 else np.inf
    if LEAST < share < MOST:
        return "both" if kernels.low is not None and kernels.low > 0 else "undecided"
    if share <= LEAST:
        return "kernels" if kernels.low is not None and kernels.low > 0 else "undecided"
    # The second engine's kernels may add to it, too; the weights' part is what the better of the two shows.
    return "weights" if share <= 1 / MOST else "both"


def through_lines(report: ThroughReport) -> list[str]:
    """What the four comparisons say, in words."""
    kind = "KL over the whole vocabulary" if report.top_k is None else (
        f"KL is a lower bound, from the {report.top_k} likeliest tokens of each")
    stays = "" if report.share is None else f" ({report.share:.0%} of it is there under {report.through}, too)"
    said = {
        "weights": f"the damage is of the weights{stays}",
        "kernels": f"the damage is of {report.engine}'s kernels{stays}",
        "both": f"the damage is of both, weights and kernels{stays}",
        "none": "no damage beyond what the baseline itself shows between the two engines",
        "undecided": f"weights or kernels cannot be told apart on so few tokens{stays}; raise --tokens",
    }[report.culprit]
    return [f"{report.tokens:,} tokens of {report.corpus}, the same weights under {report.engine} and "
            f"{report.through}; {kind}", said]


def through_grid(report: ThroughReport) -> Grid:
    """The four comparisons, and the kernels' part."""
    rows = [[Item(row.what), Item(_said(row.kl_divergence)), Item(_said(row.top1, share=True))] for row in report.pairs]
    rows.append([Item("first row minus second"), Item(_said(report.kernels)), Item("")])
    return Grid([Column("", flexible=True), Column("KL", True), Column("same top-1", True)], rows)


def _said(found: Figure, *, share: bool = False) -> str:
    def one(value: float) -> str:
        return f"{value:.2%}" if share else f"{value:.3g}"

    if found.value is None:
        return "n/a"
    interval = "" if found.low is None or found.high is None else f" ({one(found.low)} to {one(found.high)})"
    return one(found.value) + interval
