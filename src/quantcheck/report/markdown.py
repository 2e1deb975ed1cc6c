"""The report as Markdown: `comparison.md`, complete on its own.

The sentence first, then the verdicts, then the comparisons that matter most, then the details.
"""

from quantcheck.report import grids
from quantcheck.report import markdown_sections as sections
from quantcheck.report.key_comparisons import KEY_WORDS, key_grid
from quantcheck.report.markdown_text import bullets, code, escape, fenced, pairs, table
from quantcheck.report.prose import environment_pairs, flat, reading_guide
from quantcheck.report.recipes import RECIPE_WORDS, model_pairs, recipe_grid, shared_and_own
from quantcheck.report.summary import Summary

__all__ = ["escape", "render"]

NOTHING = "Nothing that was asked for is missing."


def render(summary: Summary) -> str:
    """The whole comparison as GitHub-flavoured Markdown, ending with a newline."""
    about = summary.experiment
    parts = [
        f"# {escape(about.name)}: {escape(about.model)} on {escape(about.engine)}",
        f"**{escape(summary.headline.sentence)}**",
        escape(summary.recommendation.sentence),
        "## Verdicts",
        table(grids.verdict_grid(summary)),
        f"Differences and ratios are against {code(about.baseline)}; intervals are 95%.",
        *(f"> **Warning:** {escape(warning.text)}; {escape(warning.remedy)}." for warning in summary.warnings),
        "## Key comparisons",
        table(key_grid(summary)),
        KEY_WORDS if summary.speed else "",
        "## What was compared",
        pairs(model_pairs(summary)),
        "### Recipes and calibration",
        table(recipe_grid(summary)),
        RECIPE_WORDS,
        *sections.decision(summary),
        *sections.quality(summary),
        *sections.slices(summary),
        *sections.speed(summary),
        *sections.memory(summary),
        *sections.cost(summary),
        *sections.energy(summary),
        *sections.roofline(summary),
        *sections.frontiers(summary),
        *sections.noise(summary),
        "## How to read the words",
        bullets(reading_guide(summary)),
        "## What was not measured",
        bullets([f"{item.what}: {item.reason}" for item in summary.not_measured]) or NOTHING,
        "## Environment",
        pairs(environment_pairs(summary.environment)) or "n/a (not recorded)",
        *_settings(summary),
        "## How to run it again",
        _rerun(summary),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _settings(summary: Summary) -> list[str]:
    """What the experiment fixed, the engines and the artifacts: shared values once, the others side by side."""
    fixed = {key: value for key, value in summary.settings.items() if key != "engines" and value not in (None, {})}
    parts = ["## Settings and hashes", pairs(flat(fixed))]
    for title, nested, none in (("Engines", summary.settings.get("engines") or {}, "n/a (no load was measured)"),
                                ("Artifacts", summary.artifacts, "n/a (no recipe)")):  # fmt: skip
        shared, own = shared_and_own(nested)
        parts += [f"### {title}", pairs(shared), table(own) if own.rows else "" if shared else none]
    return parts


def _rerun(summary: Summary) -> str:
    command = summary.environment.get("command") or f"quantcheck run {summary.experiment.name}.yaml"
    return (
        f"{fenced(str(command))}\n\n"
        "Cells that are stored and still valid are not measured again. Raw samples lie beside this file under "
        "`cells/`, every figure above is in `summary.json`; `quantcheck report` writes both again without measuring."
    )
