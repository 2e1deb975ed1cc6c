"""The report as Markdown: `comparison.md`, complete on its own."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from quantcheck.metrics import metric
from quantcheck.report import grids
from quantcheck.report.blocks import drift_lines
from quantcheck.report.capacity import CAPACITY_WORDS, capacity_grid
from quantcheck.report.costs import cost_grid, cost_notes
from quantcheck.report.damage_grids import damage_sections
from quantcheck.report.decision import decision_grid
from quantcheck.report.degradation import DEGRADATION_WORDS, degradation_grid
from quantcheck.report.energy import ENERGY, energy_grid
from quantcheck.report.frontiers import FRONTIER_WORDS, frontier_grid
from quantcheck.report.gpu_memory import GPU_MEMORY_WORDS, gpu_memory_grid
from quantcheck.report.grids import Grid, Item
from quantcheck.report.means import mean_grid
from quantcheck.report.prose import environment_pairs, flat, reading_guide
from quantcheck.report.quality import kl_label
from quantcheck.report.roofline_grid import ROOFLINE_WORDS, roofline_grid
from quantcheck.report.slices import slice_grid, slice_words
from quantcheck.report.speed import THROUGHPUT
from quantcheck.report.summary import Summary

__all__ = ["escape", "render"]

SPECIAL = re.compile(r"[\\`*\[\]|~]|<(?=[A-Za-z/!?])|(?<!\w)_|_(?!\w)|^[#>+-](?=\s)")
"""What Markdown would not show as itself; an underscore inside a word is safe, and so are names like Q4_K_M."""

NOTHING = "Nothing that was asked for is missing."


def render(summary: Summary) -> str:
    """The whole comparison as GitHub-flavoured Markdown, ending with a newline."""
    about = summary.experiment
    parts = [
        f"# {escape(about.name)}: {escape(about.model)} on {escape(about.engine)}",
        f"**{escape(summary.headline.sentence)}**",
        escape(summary.recommendation.sentence),
        *(f"> **Warning:** {escape(warning.text)}; {escape(warning.remedy)}." for warning in summary.warnings),
        "## Verdicts",
        table(grids.verdict_grid(summary)),
        f"Differences and ratios are against `{code(about.baseline)}`; intervals are 95%.",
        *_decision(summary),
        *_quality(summary),
        *_slices(summary),
        *_speed(summary),
        *_roofline(summary),
        *_energy(summary),
        *_costs(summary),
        *_frontiers(summary),
        "## Memory",
        table(grids.memory_grid(summary)),
        _definitions(["weights_bytes", "rss_bytes", "pss_bytes", "kv_cache_bytes"]),
        *_gpu_memory(summary),
        *_noise(summary),
        "## Environment",
        pairs(environment_pairs(summary.environment)) or "n/a (not recorded)",
        "## Settings and hashes",
        pairs(flat({k: v for k, v in summary.settings.items() if v not in (None, {})})),
        pairs(flat(summary.artifacts)) or "Artifacts: n/a (no recipe)",
        "## How to read the words",
        bullets(reading_guide(summary)),
        "## What was not measured",
        bullets([f"{item.what}: {item.reason}" for item in summary.not_measured]) or NOTHING,
        "## How to run it again",
        _rerun(summary),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _quality(summary: Summary) -> list[str]:
    parts = []
    if summary.quality:
        parts += ["## Quality by task", table(grids.task_grid(summary))]
        parts.append(
            "`lost` and `gained` are the flips: items that only the baseline, or only the variant, has right. "
            "`p` is exact McNemar, two-sided, not adjusted; the verdicts are adjusted for the number of tasks."
        )
    if summary.corpora:
        context, stride = summary.settings.get("context"), summary.settings.get("stride")
        parts += ["## Perplexity and divergence", table(grids.corpus_grid(summary))]
        parts.append(f"Sliding window, context {context} tokens, stride {stride}. " + _definitions(
            ["perplexity", "kl_divergence", "top1_agreement"]))  # fmt: skip
        if any(row.kl_top is not None for row in summary.corpora):
            parts.append(
                f"{kl_label(summary.corpora)}: the engine tells the likeliest tokens only, so that the column KL holds "
                "the divergence after all others were merged into one, which never exceeds the full one."
            )
    for heading, words, grid in damage_sections(summary):
        parts += [heading, words, table(grid)]
    return parts


def _decision(summary: Summary) -> list[str]:
    grid = decision_grid(summary)
    return ["## Decision", bullets([row.sentence for row in summary.decisions]), table(grid)] if grid.rows else []


def _costs(summary: Summary) -> list[str]:
    grid = cost_grid(summary)
    return ["## Cost", "\n".join(map(escape, cost_notes(summary))), table(grid)] if grid.rows else []


def _frontiers(summary: Summary) -> list[str]:
    grid = frontier_grid(summary)
    return ["## Pareto frontiers", FRONTIER_WORDS, table(grid)] if grid.rows else []


def _slices(summary: Summary) -> list[str]:
    if not any(row.q is not None for row in summary.slices):
        return []
    grid = slice_grid(summary)
    return ["## Exploratory: where it broke", slice_words(summary), table(grid) if grid.rows else ""]


def _speed(summary: Summary) -> list[str]:
    if not summary.speed:
        return []
    parts = ["## Speed by load", table(grids.speed_grid(summary))]
    if summary.speed_means:
        parts += ["### All loads", "Geometric mean of the ratios.", table(mean_grid(summary))]
    parts += [bullets(drift_lines(summary))]
    for key in dict.fromkeys(row.metric for row in summary.speed):
        if key != THROUGHPUT:
            parts += [f"### {metric(key).label}", _definitions([key]), table(grids.speed_grid(summary, key))]
    grid, refused = grids.percentile_grid(summary)
    parts += ["### Percentiles", "Requests of all blocks together.", table(grid), bullets(refused)]
    if summary.capacity:
        parts += ["### Highest load that meets the SLO", CAPACITY_WORDS, table(capacity_grid(summary))]
    if summary.degradation:
        parts += ["### ITL under load", DEGRADATION_WORDS, table(degradation_grid(summary))]
    return parts


def _roofline(summary: Summary) -> list[str]:
    if not summary.roofline:
        return []
    return ["## Why: the roofline", bullets([f"{row.workload}: {row.sentence}" for row in summary.explanations]),
            table(roofline_grid(summary)), ROOFLINE_WORDS]


def _energy(summary: Summary) -> list[str]:
    if not summary.energy:
        return []
    return ["## Energy", table(energy_grid(summary)), _definitions([ENERGY, "power_w"])]


def _gpu_memory(summary: Summary) -> list[str]:
    return ["### On the GPU", table(gpu_memory_grid(summary)), GPU_MEMORY_WORDS] if summary.gpu_memory else []


def _noise(summary: Summary) -> list[str]:
    if not summary.noise_floor:
        return []
    baseline = code(summary.experiment.baseline)
    return [
        "## Noise floor",
        f"`{baseline}` against itself, measured again. A difference that is not above it is not a finding.",
        table(grids.noise_grid(summary)),
    ]


def _rerun(summary: Summary) -> str:
    command = summary.environment.get("command") or f"quantcheck run {summary.experiment.name}.yaml"
    return (
        f"```\n{str(command).replace('```', '')}\n```\n\n"
        "Cells that are stored and still valid are not measured again. Raw samples lie beside this file under "
        "`cells/`, every figure above is in `summary.json`; `quantcheck report` writes both again without measuring."
    )


def _definitions(keys: Sequence[str]) -> str:
    return " ".join(f"{metric(key).label}: {metric(key).definition}." for key in keys)


def table(grid: Grid) -> str:
    """A grid as a pipe table; intervals follow their figure in brackets."""
    lines = [
        _row([escape(column.name) for column in grid.columns]),
        _row(["---:" if column.right else "---" for column in grid.columns]),
    ]
    lines += [_row(_fields(row)) for row in grid.rows]
    return "\n".join(lines)


def _row(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _fields(row: Sequence[Item]) -> list[str]:
    """A row's fields; a reason that several of them share is given once, at the last."""
    last = {item.missing: at for at, item in enumerate(row)}
    return [
        _field(item) if item.missing is None or last[item.missing] == at else "n/a" for at, item in enumerate(row)
    ]


def _field(item: Item) -> str:
    if item.missing is not None:
        return escape(f"n/a ({item.missing})")
    text = escape(item.text)
    if item.tone in ("good", "bad"):
        text = f"**{text}**"
    return f"{text} ({escape(item.detail)})" if item.detail else text


def pairs(values: Mapping[str, Any]) -> str:
    """Names and values as a two-column table; empty for none."""
    rows = [_row([escape(key), escape(str(value)) if value not in ("", "None") else "n/a (not set)"])
            for key, value in values.items()]  # fmt: skip
    return "\n".join(["| | |", "|---|---|", *rows]) if rows else ""


def bullets(lines: Sequence[str]) -> str:
    """A list; empty for none."""
    return "\n".join(f"- {escape(line)}" for line in lines)


def escape(text: str) -> str:
    """Text that stays itself in Markdown, in a table too: specials escaped, one line."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def code(text: str) -> str:
    """Text for between backticks, in a table too."""
    return " ".join(text.replace("`", "'").replace("|", "\\|").split())
