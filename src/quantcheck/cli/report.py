"""`quantcheck report`."""

import sys
from pathlib import Path

import click

__all__ = ["command"]


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def command(folder: Path) -> None:
    """Write comparison.md, report.html and summary.json again from the results in FOLDER, and print the verdict.

    Nothing is measured. Of a run that was interrupted, or still goes on, the cells that are stored are reported.
    """
    from quantcheck.errors import StoreError
    from quantcheck.report.terminal import render
    from quantcheck.runner.run import report
    from quantcheck.store import Store

    if not (folder / "experiment.json").is_file():
        raise StoreError(f"{folder}: not a results folder (no experiment.json); give the folder that a run wrote")
    click.echo(render(report(Store(folder)), sys.stdout), nl=False)
