"""Stored runs to MLflow, which the extra `mlflow` brings; nothing else imports it."""

import importlib
import re
from pathlib import Path
from typing import Any

from quantcheck.errors import EngineUnavailable, SpecError
from quantcheck.report.row import Figure
from quantcheck.report.summary import Summary

__all__ = ["log"]

CORPUS_FIGURES = ("perplexity", "kl_divergence", "top1_agreement")
ARTIFACTS = ("comparison.md", "summary.json", "report.html")


def log(summary: Summary, folder: Path, variant: str | None = None) -> list[str]:
    """An MLflow run for each variant, or for the one named; returns the runs' ids.

    Raises `EngineUnavailable` without mlflow, and `SpecError` for a variant that is not here.
    """
    rows = [row for row in summary.variants if variant in (None, row.name)]
    if not rows:
        known = ", ".join(row.name for row in summary.variants)
        raise SpecError(f"{variant}: no variant of the run in {folder}; there are: {known}")
    try:
        mlflow: Any = importlib.import_module("mlflow")
    except ModuleNotFoundError as error:
        raise EngineUnavailable("mlflow is not installed; install it with: pip install 'quantcheck[mlflow]'") from error
    mlflow.set_experiment(f"quantcheck/{summary.experiment.name}")
    words = {row.variant: row for row in summary.decisions}
    ids = []
    for row in rows:
        with mlflow.start_run(run_name=row.name) as run:
            mlflow.log_params({"model": summary.experiment.model, "engine": summary.experiment.engine,
                               "baseline": summary.experiment.baseline, "variant": row.name})
            mlflow.log_metrics(_metrics(summary, row.name))
            if row.name in words:
                mlflow.set_tags({"quantcheck.word": words[row.name].word,
                                 "quantcheck.sentence": words[row.name].sentence})
            for name in ARTIFACTS:
                if (folder / name).is_file():
                    mlflow.log_artifact(str(folder / name))
            ids.append(str(run.info.run_id))
    return ids


def _metrics(summary: Summary, variant: str) -> dict[str, float]:
    """What has a value, and the ends of its interval as NAME_low and NAME_high; MLflow has no word for what is missing.

    No name is another's folder: MLflow's file store keeps a file for each.
    """
    figures: dict[str, Figure] = {}
    for row in summary.speed:
        if row.variant == variant:
            figures |= {f"{row.metric}/{row.load}": row.value, f"{row.metric}_ratio/{row.load}": row.ratio}
    for task in summary.quality:
        if task.variant == variant:
            figures |= {f"accuracy/{task.task}": task.accuracy, f"accuracy_change/{task.task}": task.delta}
    for corpus in summary.corpora:
        if corpus.variant == variant:
            figures |= {f"{key}/{corpus.corpus}": getattr(corpus, key) for key in CORPUS_FIGURES}
    figures["size_bytes"] = next(row.size.bytes for row in summary.variants if row.name == variant)
    ends = {f"{name}{end}": value for name, figure in figures.items()
            for end, value in (("", figure.value), ("_low", figure.low), ("_high", figure.high))}
    return {_safe(name): float(value) for name, value in ends.items() if value is not None}


def _safe(name: str) -> str:
    """MLflow takes letters, digits and some signs; `@` is none of them."""
    return re.sub(r"[^A-Za-z0-9_. /-]", "-", name)
