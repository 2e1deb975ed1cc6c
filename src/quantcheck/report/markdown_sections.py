"""The details of `comparison.md`, section by section: each a list of blocks, empty where there is nothing to say."""

from collections.abc import Sequence

from quantcheck.metrics import metric
from quantcheck.report import grids
from quantcheck.report.asked_grids import asked_sections
from quantcheck.report.blocks import drift_lines
from quantcheck.report.bound import bound_words, gap_lines
from quantcheck.report.capacity import CAPACITY_WORDS, capacity_grid
from quantcheck.report.cost_grids import cost_grid, cost_notes, load_cost_grid
from quantcheck.report.damage_grids import damage_sections
from quantcheck.report.decision import decision_grid
from quantcheck.report.degradation import DEGRADATION_WORDS, degradation_grid
from quantcheck.report.energy import ENERGY, energy_grid
from quantcheck.report.frontiers import FRONTIER_WORDS, frontier_grid
from quantcheck.report.gpu_memory import GPU_MEMORY_WORDS, gpu_memory_grid
from quantcheck.report.markdown_text import bullets, code, escape, table
from quantcheck.report.means import mean_grid
from quantcheck.report.percentiles import PERCENTILE_WORDS, client_lines, percentile_grid
from quantcheck.report.predicted_grid import PREDICTED_WORDS, predicted_grid
from quantcheck.report.recovery import RECOVERY_WORDS, recovery_grid
from quantcheck.report.roofline_grid import ROOFLINE_WORDS, roofline_grid
from quantcheck.report.slices import slice_grid, slice_words
from quantcheck.report.speed import THROUGHPUT
from quantcheck.report.summary import Summary

__all__ = ["cost", "decision", "energy", "frontiers", "memory", "noise", "quality", "roofline", "slices", "speed"]


def decision(summary: Summary) -> list[str]:
    """What the policy's conditions come to, in sentences and as a table."""
    grid = decision_grid(summary)
    return ["## Decision", bullets([row.sentence for row in summary.decisions]), table(grid)] if grid.rows else []


def quality(summary: Summary) -> list[str]:
    """Tasks, accuracy recovery, perplexity and divergence, and damage itself."""
    parts = []
    if summary.quality:
        parts += ["## Quality by task", table(grids.task_grid(summary))]
        parts.append(
            "`lost` and `gained` are the flips: items that only the baseline, or only the variant, has right. "
            "`p` is exact McNemar, two-sided, not adjusted; the verdicts are adjusted for the number of tasks."
        )
        parts += ["### Accuracy recovery", RECOVERY_WORDS, table(recovery_grid(summary))]
    if summary.corpora:
        context, stride = summary.settings.get("context"), summary.settings.get("stride")
        parts += ["## Perplexity and divergence", table(grids.corpus_grid(summary))]
        parts.append(f"Sliding window, context {context} tokens, stride {stride}. " + _definitions(
            ["perplexity", "kl_divergence", "top1_agreement"]))  # fmt: skip
        if any(row.kl_top is not None for row in summary.corpora):
            parts += [bound_words(summary), bullets(gap_lines(summary))]
    for heading, words, grid in (*damage_sections(summary), *asked_sections(summary)):
        marks, _, title = heading.partition(" ")
        parts += [f"{marks} {escape(title)}", words, table(grid)]
    return parts


def slices(summary: Summary) -> list[str]:
    """Parts of tasks that lose most: exploratory."""
    if not any(row.q is not None for row in summary.slices):
        return []
    grid = slice_grid(summary)
    return ["## Exploratory: where it broke", slice_words(summary), table(grid) if grid.rows else ""]


def speed(summary: Summary) -> list[str]:
    """Every metric at every load, percentiles, the highest load that meets the SLO, and ITL under load."""
    if not summary.speed:
        return []
    parts = ["## Speed by load", table(grids.speed_grid(summary))]
    if summary.speed_means:
        parts += ["### All loads", "Geometric mean of the ratios.", table(mean_grid(summary))]
    parts += [bullets(drift_lines(summary))]
    for key in dict.fromkeys(row.metric for row in summary.speed):
        if key != THROUGHPUT:
            parts += [f"### {metric(key).label}", _definitions([key]), table(grids.speed_grid(summary, key))]
    grid, refused = percentile_grid(summary)
    parts += ["### Percentiles", PERCENTILE_WORDS, table(grid), bullets([*refused, *client_lines(summary)])]
    if summary.capacity:
        parts += ["### Highest load that meets the SLO", CAPACITY_WORDS, table(capacity_grid(summary))]
    if summary.degradation:
        parts += ["### ITL under load", DEGRADATION_WORDS, table(degradation_grid(summary))]
    return parts


def memory(summary: Summary) -> list[str]:
    """What each variant takes on the host, and on the GPU where one was seen."""
    parts = ["## Memory", table(grids.memory_grid(summary)),
             _definitions(["weights_bytes", "rss_bytes", "pss_bytes", "kv_cache_bytes"])]  # fmt: skip
    if any(row.kv_bytes_per_token.value is not None for row in summary.predicted_memory):
        parts += ["### Predicted", table(predicted_grid(summary)), PREDICTED_WORDS]
    elif summary.predicted_memory:
        why = summary.predicted_memory[0].kv_bytes_per_token.reason or ""
        parts.append(f"Predicted KV cache: n/a ({escape(why)}).")
    if summary.gpu_memory:
        parts += ["### On the GPU", table(gpu_memory_grid(summary)), GPU_MEMORY_WORDS]
    return parts


def cost(summary: Summary) -> list[str]:
    """USD per million tokens, with what the price assumes; without a price, that there is none."""
    grid = cost_grid(summary)
    if not grid.rows:
        return []
    parts = ["## Cost", "\n".join(map(escape, cost_notes(summary))), table(grid)]
    if summary.load_costs:
        words = "USD per million, of an hour that is busy all through at that load."
        parts += ["### Output tokens at each load", words, table(load_cost_grid(summary))]
    return parts


def energy(summary: Summary) -> list[str]:
    """Energy per output token."""
    if not summary.energy:
        return []
    return ["## Energy", table(energy_grid(summary)), _definitions([ENERGY, "power_w"])]


def roofline(summary: Summary) -> list[str]:
    """Why a variant is as fast as it is."""
    if not summary.roofline:
        return []
    return ["## Why: the roofline", bullets([f"{row.workload}: {row.sentence}" for row in summary.explanations]),
            table(roofline_grid(summary)), ROOFLINE_WORDS]  # fmt: skip


def frontiers(summary: Summary) -> list[str]:
    """Pareto frontiers, as points."""
    grid = frontier_grid(summary)
    return ["## Pareto frontiers", FRONTIER_WORDS, table(grid)] if grid.rows else []


def noise(summary: Summary) -> list[str]:
    """The baseline against itself."""
    if not summary.noise_floor:
        return []
    return [
        "## Noise floor",
        f"{code(summary.experiment.baseline)} against itself, measured again. A difference that is not above it is not "
        "a finding.",
        table(grids.noise_grid(summary)),
    ]


def _definitions(keys: Sequence[str]) -> str:
    return " ".join(f"{metric(key).label}: {metric(key).definition}." for key in keys)
