"""`quantcheck report`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from quantcheck.report.summary import Summary

__all__ = ["command"]


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--csv", "tables", is_flag=False, flag_value="", metavar="[DIR]",
              help="Write every table as CSV, too, into DIR; none given: FOLDER/tables. Name FOLDER first.")
@click.option("--model-card", "variant", metavar="VARIANT",
              help="Print a section for VARIANT's Hugging Face model card instead, and write no report.")
def command(folder: Path, tables: str | None, variant: str | None) -> None:
    """Write comparison.md, report.html and summary.json again from the results in FOLDER, and print the verdict.

    Nothing is measured. Of a run that was interrupted, or still goes on, the cells that are stored are reported.
    """
    from quantcheck.errors import StoreError
    from quantcheck.report.stored import read_run
    from quantcheck.report.terminal import render
    from quantcheck.runner.run import report
    from quantcheck.store import Store

    if not (folder / "experiment.json").is_file():
        raise StoreError(f"{folder}: not a results folder (no experiment.json); give the folder that a run wrote")
    if variant is None:
        summary = report(Store(folder))
        text = render(summary, sys.stdout)
    else:
        from quantcheck.report.model_card import model_card

        summary = read_run(Store(folder), unfinished=True).summary()
        text = model_card(summary, variant)
    click.echo(text, nl=False)
    if variant is not None:
        _note_base_model(summary)
    if tables is not None:
        _write_tables(summary, Path(tables) if tables else folder / "tables")


def _note_base_model(summary: "Summary") -> None:
    from quantcheck.report.public_names import hub_repository, public_model

    name = public_model(summary.experiment.model)
    if hub_repository(name) is None:
        click.echo(f"base_model is {name!r}, which is no repository of the Hugging Face hub: write OWNER/NAME there "
                   "before you publish", err=True)


def _write_tables(summary: "Summary", folder: Path) -> None:
    """All files are made before the first is written; each is then written whole or not at all."""
    from quantcheck.cli.output import write_whole
    from quantcheck.errors import StoreError
    from quantcheck.report.csv_tables import csv_files

    files = csv_files(summary)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be made ({error.strerror}); give another folder to --csv") from error
    for name, text in files.items():
        write_whole(folder / name, text)
    click.echo(f"{len(files)} tables in {folder} (columns.csv explains them)", err=True)
