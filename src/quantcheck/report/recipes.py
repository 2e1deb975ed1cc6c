"""What was compared: the model, each variant's recipe and calibration, and settings side by side."""

from collections.abc import Mapping
from typing import Any

from quantcheck.report.grids import VARIANT, Column, Grid, Item
from quantcheck.report.prose import flat, machine_words
from quantcheck.report.summary import Summary

__all__ = ["RECIPE_WORDS", "model_pairs", "recipe_grid", "recipe_words", "shared_and_own"]

RECIPE_WORDS = "Hashes are SHA-256, here their first 12 digits; they are whole under Settings and hashes."

DIGITS = 12


def model_pairs(summary: Summary) -> dict[str, str]:
    """The model, where its weights are from, its shape and size, the engine, and the machine."""
    about = summary.experiment
    recipe = summary.artifacts.get(about.baseline, {})
    source, shape = recipe.get("source") or {}, recipe.get("architecture") or {}
    kinds = {"huggingface": "a Hugging Face folder", "gguf": "a GGUF file"}
    source_kind = "random weights" if recipe.get("weights") == "random" else kinds.get(source.get("kind", ""), "")
    found = {
        "model": about.model,
        "source": source_kind,
        "source SHA-256": str(source.get("sha256") or recipe.get("source_sha256") or ""),
        "parameters": f"{recipe['parameters']:,}" if recipe.get("parameters") else "",
        "shape": ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shape.items()),
        "baseline": about.baseline,
        "engine": " ".join(filter(None, [about.engine, _version(summary)])),
        "seed": str(summary.settings.get("seed", "")),
        "machine": machine_words(summary.environment),
    }
    return {key: value for key, value in found.items() if value}


def _version(summary: Summary) -> str:
    """The engine's own version, where all variants' engines tell the same."""
    engines = summary.settings.get("engines") or {}
    told = {str(engine.get("version") or engine.get("llama_cpp") or "") for engine in engines.values()}
    return told.pop() if len(told) == 1 else ""


def recipe_grid(summary: Summary) -> Grid:
    """A line per variant: format, how it was made, on what it was calibrated, and its hash."""
    columns = [VARIANT, Column("scheme"), Column("bits/weight", True), Column("made by", flexible=True),
               Column("calibration", flexible=True), Column("data"), Column("weights")]  # fmt: skip
    return Grid(columns, [_row(row.name, row.scheme, summary.artifacts.get(row.name)) for row in summary.variants])


def _row(name: str, scheme: str | None, recipe: Mapping[str, Any] | None) -> list[Item]:
    head = [Item(name), Item(missing="not told") if scheme is None else Item(scheme)]
    if not recipe:
        return [*head, *[Item(missing="no recipe")] * 5]
    bits, digest = recipe.get("bits_per_weight"), recipe.get("sha256")
    return [
        *head,
        Item(missing="not told") if bits is None else Item(f"{bits:.2f}"),
        Item(maker_words(recipe)),
        Item(calibration_words(recipe)),
        Item(str(_calibration(recipe).get("data_sha256") or "")[:DIGITS]),
        Item(missing="not told") if not digest or "url" in recipe else Item(str(digest)[:DIGITS]),
    ]


def maker_words(recipe: Mapping[str, Any]) -> str:
    """`gptq, llm-compressor (llmcompressor 0.14, torch 2.11)`. Of a server of the user's only its name is known."""
    if recipe.get("weights") == "random":
        return "random weights"
    if recipe.get("ready"):
        return "as it was found"
    if "url" in recipe:
        return f"you: {recipe['model']} at {recipe['url']}"
    tools = ", ".join(f"{tool} {version}" for tool, version in (recipe.get("tools") or {}).items())
    maker = recipe.get("with") or "quantcheck"
    return ", ".join(filter(None, [recipe.get("method"), f"{maker} ({tools})" if tools else maker]))


def _calibration(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of llm-compressor, or the text of an importance matrix; empty for none."""
    found: Mapping[str, Any] = recipe.get("calibration") or recipe.get("imatrix") or {}
    return found if isinstance(found, Mapping) else {}


def calibration_words(recipe: Mapping[str, Any]) -> str:
    """`stories.jsonl: 48 samples, 12,288 tokens (at most 256 a sample), seed 0`; `none`, or why it is not known."""
    how = _calibration(recipe)
    if not how:
        return "not known (a ready checkpoint)" if recipe.get("ready") else "none"
    name = how.get("dataset") or how.get("hub") or ("importance matrix" if recipe.get("imatrix") else "")
    tokens = recipe.get("imatrix_tokens") if recipe.get("imatrix") else how.get("tokens")
    most, seed = how.get("most_tokens"), how.get("seed")
    # Without what the quantizer said it read, `tokens` is what was asked for of each sample.
    each = tokens if most is None and how.get("samples") is not None else None
    parts = [
        f"{how['samples']:,} samples" if how.get("samples") is not None else "",
        f"at most {each:,} tokens a sample" if each is not None else f"{tokens or how.get('tokens') or 0:,} tokens",
        f"at most {most:,} a sample" if most is not None else "",
        f"seed {seed}" if seed is not None else "no seed: read from its begin",
    ]
    return ": ".join(filter(None, [name, ", ".join(filter(None, parts))]))


def recipe_words(summary: Summary, variant: str) -> list[str]:
    """One variant's recipe in lines."""
    recipe = summary.artifacts.get(variant)
    if not recipe:
        return ["n/a (no recipe)"]
    scheme = next((row.scheme for row in summary.variants if row.name == variant), None)
    digest, data = recipe.get("sha256"), _calibration(recipe).get("data_sha256")
    lines = [f"scheme: {scheme}" if scheme else "", f"made by: {maker_words(recipe)}",
             f"calibration: {calibration_words(recipe)}", f"calibration data SHA-256: {data}" if data else "",
             f"weights SHA-256: {digest}" if digest and "url" not in recipe else ""]  # fmt: skip
    return [line for line in lines if line]


def shared_and_own(nested: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, str], Grid]:
    """Values that all variants share, as pairs; and a table of the others, a column per variant."""
    told = {name: flat(values) for name, values in nested.items()}
    keys = list(dict.fromkeys(key for values in told.values() for key in values))
    shared, rows = {}, []
    for key in keys:
        values = [found.get(key) for found in told.values()]
        if len(set(values)) == 1 and values[0] is not None:
            shared[key] = values[0]
        else:
            rows.append([Item(key), *(_value(value) for value in values)])
    return shared, Grid([Column("", flexible=True), *(Column(name) for name in told)], rows)


def _value(value: str | None) -> Item:
    return Item("n/a" if value in (None, "", "None") else str(value))
