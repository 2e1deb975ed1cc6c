"""A section for the model card of a quantized checkpoint, as the Hugging Face hub reads it.

YAML front matter with `model-index`, then Markdown: the sentence, the variant against its baseline, the recipe, the
machine and the command. Written by huggingface_hub, so that it reads back as the same results.
"""

from collections.abc import Iterator, Mapping

from huggingface_hub import EvalResult, ModelCardData

from quantcheck.errors import SpecError
from quantcheck.report import figures
from quantcheck.report.cells import short_names
from quantcheck.report.grids import Column, Grid, Item
from quantcheck.report.key_comparisons import key_grid
from quantcheck.report.markdown_text import bullets, escape, fenced, table
from quantcheck.report.prose import machine_words
from quantcheck.report.public_names import public_command, public_model, public_name, public_text
from quantcheck.report.recipes import recipe_words
from quantcheck.report.summary import Figure, Summary, TaskRow, VariantRow

__all__ = ["card_data", "model_card"]

GENERATION = "text-generation"


def model_card(summary: Summary, variant: str) -> str:
    """The section for `variant`, front matter first, ending with a newline.

    Raises `SpecError` where the run has no such variant, or it is the baseline.
    """
    row, name = _variant(summary, variant), summary.experiment.name
    front = card_data(summary, variant).to_yaml()
    parts = [
        f"---\n{front}\n---",
        f"## {escape(public_name(row.name))} against {escape(public_name(summary.experiment.baseline))}",
        f"**{escape(public_text(_sentence(summary, variant)))}**",
        table(_comparison(summary, variant)),
        "Intervals are 95%; in brackets the ratio variant / baseline, or the change, and the verdict."
        + (" Speed is that of random weights: nothing is said of quality." if _random(summary) else ""),
        *_tasks(summary, variant),
        "### Recipe",
        bullets([public_text(line) for line in recipe_words(summary, variant)]),
        "### Hardware",
        escape(public_text(machine_words(summary.environment) or "n/a (not recorded)")),
        "### Measured with",
        f"quantcheck {escape(_version(summary, variant))}, engine {escape(summary.experiment.engine)}, "
        f"seed {summary.settings.get('seed')}:",
        fenced(public_command(str(summary.environment.get("command") or f"quantcheck run {name}.yaml"))),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def card_data(summary: Summary, variant: str) -> ModelCardData:
    """The front matter: what the variant was made from, tags, and every result that has a figure.

    A model that is no repository of the hub is named by its last part. Raises as `model_card`.
    """
    row = _variant(summary, variant)
    results = list(_results(summary, variant))
    model = public_model(summary.experiment.model)
    return ModelCardData(
        base_model=model,
        base_model_relation="quantized",
        pipeline_tag=GENERATION,
        tags=list(dict.fromkeys(["quantized", "quantcheck", *([public_name(row.scheme)] if row.scheme else [])])),
        model_name=f"{model.split('/')[-1]}-{public_name(row.name)}" if results else None,
        eval_results=results or None,
    )


def _variant(summary: Summary, variant: str) -> VariantRow:
    names = [row.name for row in summary.variants if not row.baseline]
    if variant not in names:
        is_baseline = variant == summary.experiment.baseline
        why = "is the baseline, which is compared with nothing" if is_baseline else "is no variant of this run"
        others = f"choose one of {', '.join(names)}" if names else "run an experiment with a second variant"
        raise SpecError(f"--model-card {variant!r} {why}: {others}")
    return next(row for row in summary.variants if row.name == variant)


def _sentence(summary: Summary, variant: str) -> str:
    """The decision's, which is about this variant alone; the headline where nothing was decided."""
    own = next((row.sentence for row in summary.decisions if row.variant == variant), None)
    return own or summary.headline.sentence


def _random(summary: Summary) -> bool:
    return any(recipe.get("weights") == "random" for recipe in summary.artifacts.values())


def _results(summary: Summary, variant: str) -> Iterator[EvalResult]:
    hashes = summary.settings.get("hashes") or {}
    for task in summary.quality:
        if task.variant == variant and task.accuracy.value is not None:
            told = _against(task.delta, "change") | {"n": task.n, "word": task.word}
            yield _result(hashes, task.task, "accuracy", "accuracy, a fraction", task.accuracy, told)
    for row in summary.corpora:
        if row.variant != variant:
            continue
        told = {"tokens": row.tokens, "context": row.context, "stride": row.stride}
        if row.perplexity.value is not None:
            against = _against(row.ratio, "ratio") | {"word": row.word}
            yield _result(hashes, row.corpus, "perplexity", "perplexity per token", row.perplexity, told | against)
        if row.kl_divergence.value is not None and row.word != "not comparable":
            name = "KL(baseline || variant), nats per token" + (", a lower bound" if row.kl_top is not None else "")
            yield _result(hashes, row.corpus, "kl_divergence", name, row.kl_divergence, told)


def _against(figure: Figure, name: str) -> dict[str, float | None]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


def _result(
    hashes: dict[str, dict[str, str]], subject: str, kind: str, name: str, figure: Figure, told: Mapping[str, object]
) -> EvalResult:
    whole = {"low": figure.low, "high": figure.high, **told}
    known = {key: value for key, value in whole.items() if value is not None}
    return EvalResult(
        task_type=GENERATION, dataset_type=public_name(subject), dataset_name=public_name(subject),
        dataset_revision=hashes.get(subject, {}).get("suite_sha256"), metric_type=kind, metric_name=name,
        metric_value=figure.value, metric_args=known,
    )  # fmt: skip


def _comparison(summary: Summary, variant: str) -> Grid:
    """The key comparisons of the baseline and this variant; those that neither has are left out."""
    grid = key_grid(summary)
    names = [row.name for row in summary.variants]
    places = [0, 1, 2 + names.index(summary.experiment.baseline), 2 + names.index(variant)]
    rows = [[_public(row[at]) for at in places] for row in grid.rows]
    heads = [Column(public_name(grid.columns[at].name), grid.columns[at].right) for at in places]
    return Grid(heads, [row for row in rows if any(item.text for item in row[2:])])


def _public(item: Item) -> Item:
    return item if item.missing is None else Item(missing=public_text(item.missing))


def _tasks(summary: Summary, variant: str) -> list[str]:
    """Task by task, where there are several."""
    own = [row for row in summary.quality if row.variant == variant]
    names = short_names(dict.fromkeys(row.task for row in own))
    columns = [Column("task"), Column("items", True), Column("baseline", True), Column("variant", True),
               Column("change", True), Column("95% CI"), Column("verdict")]  # fmt: skip
    grid = Grid(columns, [_task(row, public_name(names[row.task])) for row in own])
    return ["### Accuracy by task", table(grid)] if len(own) > 1 else []


def _task(row: TaskRow, name: str) -> list[Item]:
    why = public_text(row.reason or row.delta.reason or "not measured")
    change = [Item(missing=why), Item()] if row.delta.value is None else [
        Item(figures.points(row.delta)), Item(figures.points_interval(row.delta))]
    known = [Item() if of.value is None else Item(figures.percent(of)) for of in (row.baseline_accuracy, row.accuracy)]
    return [Item(name), Item(f"{row.n:,}" if row.n else ""), *known, *change,
            Item(missing=why) if row.word is None else Item(row.word)]  # fmt: skip


def _version(summary: Summary, variant: str) -> str:
    """Of the quantcheck that measured, not of the one that writes this."""
    packages = summary.environment.get("packages") or {}
    recipe = summary.artifacts.get(variant, {})
    told = packages.get("quantcheck") or recipe.get("quantcheck") or (recipe.get("tools") or {}).get("quantcheck")
    return str(told) if told else "(version not recorded)"
