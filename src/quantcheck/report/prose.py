"""What both renderings say in words: how to read the verdicts, the environment as pairs."""

from collections.abc import Mapping
from typing import Any

from quantcheck.report import figures
from quantcheck.report.ceilings import ceiling_words
from quantcheck.report.summary import Summary

__all__ = ["environment_pairs", "flat", "machine_words", "noise_lines", "reading_guide"]

_VERSIONS = {
    "kernel": "kernel",
    "Python": "python",
    "quantcheck": "packages.quantcheck",
    "xllamacpp": "packages.xllamacpp",
}


def noise_lines(summary: Summary) -> list[str]:
    """The noise floor in a line each for speed, tasks and text."""
    rows, lines = summary.noise_floor, []
    speed = [row for row in rows if row.kind == "speed"]
    if speed:
        all_loads = speed[-1]  # `all loads` comes last; with one load that load is all
        band = figures.interval(all_loads.effect, join="-")
        lines.append(f"speed, {all_loads.subject}: {figures.ratio(all_loads.effect)}{f' ({band})' if band else ''}")
    tasks = [row for row in rows if row.kind == "task" and row.effect.value is not None]
    if tasks:
        flips = sum((row.lost or 0) + (row.gained or 0) for row in tasks)
        lines.append(f"tasks: {flips:,} of {sum(row.n or 0 for row in tasks):,} items flipped")
    texts = [row for row in rows if row.kind == "perplexity" and row.effect.value is not None]
    if texts:
        ratio = max((row.effect for row in texts), key=lambda f: abs((f.value or 1) - 1))
        line = f"text: perplexity {figures.ratio(ratio, 4)}"
        known = [f for row in texts if (f := row.kl_divergence) is not None and f.value is not None]
        if known:
            line += f", KL divergence {figures.value(max(known, key=lambda f: f.value or 0), 'kl_divergence')}"
        lines.append(line)
    return lines


def reading_guide(summary: Summary) -> list[str]:
    """What each word means in this report, with the margins that were asked for."""
    margin = summary.settings["margin"]
    points, speed, text = margin["accuracy_pp"], margin["throughput_ratio"], margin["perplexity_ratio"]
    lines = []
    if summary.quality:
        lines += [
            f"safe: the loss of accuracy is below {points:g} pp{_own_margins(margin)} with 95% confidence. harmed: "
            "there is a loss, with 95% confidence. "
            "inconclusive: neither is shown; the items that would settle it are a plan, not a promise.",
            "lost, gained: the flips, items that only the baseline, or only the variant, has right. "
            "Words hold for all tasks of a variant together (Holm).",
        ]
    if any(row.stopped for row in summary.quality):
        lines.append("N of M items: a task ended as soon as it was decided; its word and interval hold at any look.")
    if drawn := next((row.sampled for row in summary.quality if row.sampled), None):
        lines.append(
            f"drawn answers: {drawn.draws} per item at temperature {drawn.temperature:g}; lost, gained: items of which "
            "fewer, or more, answers are right. Items are the sample, not draws."
        )
    if summary.corpora:
        lines.append(f"perplexity: safe below {1 + text:g}x, harmed above 1x, with 95% confidence, paired by text.")
    if summary.speed:
        pair = "round over the servers" if summary.experiment.engine == "openai" else "engine start"
        lines.append(
            f"speed: variant / baseline, paired by {pair}; of a time, below 1x is faster. "
            f"no detectable difference: within {speed:.0%}. "
            "inconclusive: the interval holds 1x and reaches beyond that."
        )
    return lines


def _own_margins(margin: Mapping[str, Any]) -> str:
    own = [f"{name} {points:g} pp" for name, points in margin.get("tasks", {}).items()]
    return f" ({', '.join(own)})" if own else ""


def machine_words(environment: Mapping[str, Any]) -> str:
    """What a reader must know of the machine, in one sentence; the whole of it is in summary.json."""
    pairs = environment_pairs(environment)
    cores = f"{pairs['cores']} cores" if "cores" in pairs else None
    words = [pairs.get("cpu"), cores, pairs.get("ram"), _gpus(environment), pairs.get("os"), pairs.get("virtual")]
    versions = [f"{name} {pairs[key]}" for name, key in _VERSIONS.items() if key in pairs]
    return "; ".join(", ".join(word for word in part if word) for part in (words, versions) if any(part))


def _gpus(environment: Mapping[str, Any]) -> str | None:
    """`2 x NVIDIA H100 80GB HBM3 (81559 MiB, driver 580.1)`, kinds apart."""
    kinds: dict[str, int] = {}
    for gpu in environment.get("gpus") or ():
        told = dict(gpu) if isinstance(gpu, Mapping) else {"name": gpu}
        beside = [str(told["memory"])] if told.get("memory") else []
        beside += [f"driver {told['driver']}"] if told.get("driver") else []
        kind = str(told.get("name", "GPU")) + (f" ({', '.join(beside)})" if beside else "")
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(f"{count} x {kind}" if count > 1 else kind for kind, count in kinds.items()) or None


def environment_pairs(environment: Mapping[str, Any]) -> dict[str, str]:
    """The environment as one level of names and short values."""
    shown = dict(environment)
    if shown.get("ceilings"):
        shown["ceilings"] = ceiling_words(shown["ceilings"])
    return {key: value for key, value in flat(shown).items() if value not in ("", "None")}


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as `outer.inner` to text; lists joined by commas, bytes as MB or GB, fractions short."""
    found: dict[str, str] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
            found |= flat({str(i): v for i, v in enumerate(value)}, f"{name}.")
        elif isinstance(value, list | tuple):
            found[name] = ", ".join(str(v) for v in value)
        elif key.endswith("_bytes") and isinstance(value, int | float):
            found[name.removesuffix("_bytes")] = f"{value / 1e9:,.1f} GB" if value >= 1e9 else f"{value / 1e6:,.1f} MB"
        elif isinstance(value, float):
            found[name] = _short(value)
        else:
            found[name] = str(value)
    return found


def _short(value: float) -> str:
    """Four digits; whole numbers whole."""
    if value.is_integer() or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.4g}"
