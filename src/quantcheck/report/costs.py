"""Cost rows: what a variant's tokens cost at the price that the policy assumes, per workload."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantcheck.report.blocks import THROUGHPUT, figures_by_block, left_out, noise_of
from quantcheck.report.capacity import throughput_by_block
from quantcheck.report.cells import CellIndex
from quantcheck.report.quality import figure
from quantcheck.report.speed import UNPAIRED, ratio_figure
from quantcheck.report.summary import CapacityRow, CostRow, CostWord, Figure, SpeedWord
from quantcheck.spec.policy import Price
from quantcheck.stats import block_log_ratios, judge_speed, speed_ratio, t_interval
from quantcheck.stats.cost import amortised, token_cost, usd_per_million

__all__ = ["compared", "cost_by_block", "cost_of", "cost_rows", "usd_by_block", "workload_of"]

WORDS_OF_COST: dict[SpeedWord, CostWord] = {
    "faster": "cheaper",
    "slower": "dearer",
    "no detectable difference": "no detectable difference",
    "inconclusive": "inconclusive",
}

BELOW = "no measured load meets the SLO"


@dataclass(frozen=True)
class _Held:
    """The load that a cost is taken at (none: null, and the figures say why), and what went through there; tokens/s."""

    at: str | None
    output: Figure
    input: Figure


def workload_of(load: str) -> str:
    """`chat` of `chat@c8`."""
    return load.rpartition("@")[0] or load


def cost_rows(
    index: CellIndex, capacity: Sequence[CapacityRow], artifacts: Mapping[str, Mapping[str, Any]]
) -> list[CostRow]:
    """A row per workload and variant, the baseline's own too; none without a price.

    With an SLO the cost is that at the highest load that meets it (`capacity`); without one that at the load of the
    variant's highest measured output throughput.
    """
    price = index.experiment.policy.price
    if price is None:
        return []
    rows = []
    for workload in dict.fromkeys(workload_of(load) for load in index.loads):
        loads = [load for load in index.loads if workload_of(load) == workload]
        if index.experiment.slo is None:
            held = {v: _at_highest_throughput(index, v, loads) for v in index.variants}
        else:
            held = {v: _at_slo(index, v, workload, capacity) for v in index.variants}
        own = [_row(index, workload, v, held[v], price, artifacts.get(v, {})) for v in index.variants]
        rows += [own[0], *(_against_baseline(index, own[0], row) for row in own[1:])]
    return rows


def _row(
    index: CellIndex, workload: str, variant: str, own: _Held, price: Price, recipe: Mapping[str, Any]
) -> CostRow:
    hour = price.hour_usd(variant)
    output, making = cost_of(own.output, hour), _making(index, recipe, hour)
    total = output if output.value is None else making
    if output.value is not None and making.value is not None:
        ends = {end: None if (x := getattr(output, end)) is None else x + making.value for end in ("low", "high")}
        total = Figure(value=output.value + making.value, **ends, reason=output.reason)
    return CostRow(
        workload=workload,
        variant=variant,
        hour_usd=hour,
        gpus=price.accelerators(variant),
        basis="highest throughput" if index.experiment.slo is None else "slo",
        at=own.at,
        output=output,
        input=cost_of(own.input, hour),
        blended=_blended(output, own),
        making=making,
        total=total,
        ratio=Figure(reason="is the baseline"),
        word=None,
        reason=output.reason if output.value is None else None,
    )


def cost_of(throughput: Figure, hour_usd: float) -> Figure:
    """USD per million tokens at a throughput in tokens/s: the interval's ends change places."""
    if throughput.value is None:
        return Figure(reason=throughput.reason)
    cost = token_cost(throughput.value, throughput.low, throughput.high, hour_usd)
    reason = throughput.reason or ("the throughput's interval reaches 0" if cost.low is None else None)
    return Figure(value=cost.estimate, low=cost.low, high=cost.high, reason=reason)


def _blended(output: Figure, held: _Held) -> Figure:
    """Of all tokens: input per output token is the workload's, so that the output's interval carries over."""
    if output.value is None or held.input.value is None or held.output.value is None:
        return Figure(reason=output.reason if output.value is None else held.input.reason)
    share = held.output.value / (held.output.value + held.input.value)
    ends = [None if end is None else end * share for end in (output.low, output.high)]
    return Figure(value=output.value * share, low=ends[0], high=ends[1], reason=output.reason)


def _making(index: CellIndex, recipe: Mapping[str, Any], hour_usd: float) -> Figure:
    if recipe.get("weights") == "random":
        return Figure(reason="random weights: nothing was quantized")
    if recipe.get("ready"):
        return Figure(reason="a ready file: how long it took to make is not known")
    seconds = recipe.get("seconds")
    if seconds is None:
        return Figure(reason="the recipe does not say how long it took")
    return Figure(value=amortised(float(seconds), hour_usd, index.experiment.policy.amortise_tokens))


def cost_by_block(index: CellIndex, row: CostRow) -> dict[int, float]:
    """USD per million output tokens at the load of `row`, in each block that counts for its variant."""
    if row.at is None:
        return {}
    if row.basis == "slo":
        blocks = throughput_by_block(index, row.workload, row.variant)
    else:
        blocks = figures_by_block(index, row.variant, row.at, THROUGHPUT)
    return usd_by_block(index, row.variant, blocks, row.hour_usd)


def usd_by_block(
    index: CellIndex, variant: str, throughput: Mapping[int, float], hour_usd: float
) -> dict[int, float]:
    """USD per million tokens at a throughput by block, of the blocks that count for the variant."""
    gone = left_out(index, variant)
    return {block: usd_per_million(rate, hour_usd) for block, rate in throughput.items() if block not in gone}


def _against_baseline(index: CellIndex, baseline: CostRow, row: CostRow) -> CostRow:
    if gone := _only_one_has(index, baseline, row):
        return row.model_copy(update={"ratio": Figure(reason=gone), "reason": gone})
    blocks = cost_by_block(index, baseline), cost_by_block(index, row)
    ratio, word, reason = compared(index, *blocks, _floor(index, baseline))
    if ratio.value is None:
        reason = row.reason or baseline.reason or reason
        ratio = Figure(reason=reason)
    return row.model_copy(update={"ratio": ratio, "word": word, "reason": reason})


def compared(
    index: CellIndex, baseline: Mapping[int, float], own: Mapping[int, float], floor: float | None
) -> tuple[Figure, CostWord | None, str | None]:
    """(ratio, word, why there is none or why it is open) of two costs by block; `floor`: the noise of the logarithm."""
    ratio = speed_ratio(baseline, own)
    if ratio is None:
        return Figure(reason=UNPAIRED), None, UNPAIRED
    margin = index.experiment.policy.margin.throughput_ratio
    verdict = judge_speed(ratio, higher_is_better=False, margin=margin, floor=floor)
    return ratio_figure(ratio), WORDS_OF_COST[verdict.word], verdict.reason


def _only_one_has(index: CellIndex, baseline: CostRow, row: CostRow) -> str | None:
    """Why the best loads of both cannot be compared: one might have done better at a load that it has no figure of."""
    if row.basis == "slo" or baseline.at is None or row.at is None:
        return None
    for variant, load in ((index.baseline, row.at), (row.variant, baseline.at)):
        if not figures_by_block(index, variant, load, THROUGHPUT):
            return f"{variant} has no figure of {load}: {index.missing(variant, load)}"
    return None


def _floor(index: CellIndex, baseline: CostRow) -> float | None:
    """The baseline's throughput against itself, at the load that its cost is taken at."""
    if baseline.basis == "highest throughput":
        return noise_of(index, index.baseline, baseline.at or "", THROUGHPUT)
    twins = (throughput_by_block(index, baseline.workload, name) for name in (index.baseline, index.again))
    logs = list(block_log_ratios(*twins).values())
    return float(np.mean(logs)) if logs else None


def _at_highest_throughput(index: CellIndex, variant: str, loads: Sequence[str]) -> _Held:
    by_load = {load: figures_by_block(index, variant, load, THROUGHPUT) for load in loads}
    measured = {load: blocks for load, blocks in by_load.items() if blocks}
    if not measured:
        gone = Figure(reason=index.missing(variant, loads[0]))
        return _Held(None, gone, gone)
    best = max(measured, key=lambda load: float(np.mean(np.log(list(measured[load].values())))))
    inputs = figures_by_block(index, variant, best, "input_throughput")
    return _Held(best, _mean(measured[best]), _mean(inputs))


def _mean(blocks: Mapping[int, float]) -> Figure:
    if not blocks:
        return Figure(reason="input tokens were not counted")
    return figure(t_interval(np.log(np.array(list(blocks.values())))).map_exp())


def _at_slo(index: CellIndex, variant: str, workload: str, capacity: Sequence[CapacityRow]) -> _Held:
    row = next((r for r in capacity if (r.workload, r.variant) == (workload, variant)), None)
    if row is None or row.bound is None:
        gone = Figure(reason=(row and row.reason) or "no ladder of loads to find the highest that meets the SLO")
        return _Held(None, gone, gone)
    if row.bound == "below" or row.highest.value is None:
        gone = Figure(reason=row.highest.reason or BELOW)
        return _Held(None, gone, gone)
    at = f"{row.highest.value:.3g} {row.unit}" + (" or more" if row.bound == "at least" else "")
    return _Held(at, row.output_throughput, row.input_throughput)
