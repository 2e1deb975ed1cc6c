"""Modules of a variant, ranked by the damage that each does alone."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field

from quantcheck.report.grids import Column, Grid, Item
from quantcheck.report.quality import figure
from quantcheck.report.row import Figure, Row
from quantcheck.stats import Interval, token_mean, token_units

__all__ = ["LocateReport", "ModuleRow", "locate_report", "located_grid", "located_lines"]

KEPT_SHARE, KEPT_MOST = 0.5, 8
"""The recipe keeps the fewest modules that together do this share of the damage, and no more than so many."""


class ModuleRow(Row):
    """One module. `kl_divergence`: of the mixed model from the baseline, nats per token."""

    module: str
    damage: Figure = Field(description="nats per token that the module adds to the baseline, or (reverse) takes away "
                                       "from the variant when it alone is the baseline's")
    share: float | None = Field(description="of the whole variant's divergence; shares need not sum to 1")
    kl_divergence: Figure
    baseline_type: str | None = Field(description="of a GGUF tensor")
    variant_type: str | None


class LocateReport(Row):
    """`modules`: the worst first. `keep`: the recipe's lines that would keep the worst in higher precision."""

    variant: str
    baseline: str
    engine: str
    corpus: str
    tokens: int
    unit: str = Field(description="what intervals count as independent: documents, or segments of one")
    reverse: bool
    whole: Figure = Field(description="divergence of the whole variant, nats per token")
    modules: list[ModuleRow]
    keep: list[str]


def locate_report(
    modules: Sequence[str], kl: npt.NDArray[np.float64], whole: npt.NDArray[np.float64],
    document: npt.NDArray[np.integer], *, variant: str, baseline: str, corpus: str, reverse: bool, engine: str,
    maker: str, types: Mapping[str, Mapping[str, str]],
) -> LocateReport:
    """The ranking of `modules` [m] from `kl` [m, tokens], `whole` [tokens] and `document` [tokens].

    `maker`: of the variant, by which a module is left out. `types`: "baseline" and "variant" to the type of each GGUF
    tensor; empty for other engines.
    """
    units = token_units(document)
    all_of_it = token_mean(whole, units)

    def row(module: str, values: npt.NDArray[np.float64]) -> ModuleRow:
        damage: Interval = token_mean(whole - values if reverse else values, units)
        share = damage.estimate / all_of_it.estimate if damage.estimate is not None and all_of_it.estimate else None
        return ModuleRow(
            module=module, damage=figure(damage), share=share, kl_divergence=figure(token_mean(values, units)),
            baseline_type=types.get("baseline", {}).get(module), variant_type=types.get("variant", {}).get(module))

    rows = [row(module, values) for module, values in zip(modules, kl, strict=True)]
    rows.sort(key=lambda found: -(found.damage.value or 0.0))
    return LocateReport(
        variant=variant, baseline=baseline, engine=engine, corpus=corpus, tokens=len(whole), unit=units.kind,
        reverse=reverse, whole=figure(all_of_it), modules=rows, keep=_keep(rows, maker))


def _keep(rows: Sequence[ModuleRow], maker: str) -> list[str]:
    damages = [max(row.damage.value or 0.0, 0.0) for row in rows]
    if not sum(damages):
        return []
    enough = int(np.searchsorted(np.cumsum(damages), KEPT_SHARE * sum(damages))) + 1
    worst = rows[: min(enough, KEPT_MOST)]
    if maker == "llm-compressor":
        names = ", ".join(row.module for row in worst)
        return [f"quantize: {{ignore: [{names}]}}"]
    if maker != "quantcheck":  # what makes it as it loads, or made it elsewhere, is not told by a recipe of ours
        return []
    types = ", ".join(f"{row.module.removesuffix('.weight')}: {_more(row.variant_type)}" for row in worst)
    return [f"quantize: {{tensors: {{{types}}}}}"]


def _more(kind: str | None) -> str:
    """The type above: eight bits, and half precision for what has eight."""
    return "F16" if kind in ("Q8_0", "F16", "BF16", "F32") else "Q8_0"


def located_lines(report: LocateReport) -> list[str]:
    """What the ranking says, in words."""
    what = (f"{report.variant} with one module of {report.baseline}" if report.reverse
            else f"{report.baseline} with one module of {report.variant}")
    lines = [f"{what}, {report.tokens:,} tokens of {report.corpus}; the whole variant: KL {_nats(report.whole)}"]
    worst = report.modules[0] if report.modules else None
    if worst is not None and worst.share is not None:
        lines.append(f"worst: {worst.module}, {worst.share:.0%} of the whole variant's divergence by itself")
    return lines + [f"to keep the worst in higher precision: {line}" for line in report.keep]


def located_grid(report: LocateReport, most: int | None = 20) -> Grid:
    """The worst `most` modules; None: all."""
    columns = [Column("module", flexible=True), Column("type"), Column("takes away" if report.reverse else "KL", True),
               Column("share", True), Column("")]  # fmt: skip
    rows = report.modules[:most]
    top = max((row.damage.value or 0.0 for row in rows), default=0.0)
    return Grid(columns, [
        [Item(row.module), Item("" if row.variant_type is None else f"{row.baseline_type} > {row.variant_type}"),
         Item(_nats(row.damage)), Item("" if row.share is None else f"{row.share:.1%}"),
         Item("#" * round(20 * max(row.damage.value or 0.0, 0.0) / top) if top else "")]
        for row in rows
    ])  # fmt: skip


def _nats(found: Figure) -> str:
    if found.value is None:
        return "n/a"
    interval = "" if found.low is None else f" ({found.low:.2g} to {found.high:.2g})"
    return f"{found.value:.3g}{interval}"
