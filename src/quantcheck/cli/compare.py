"""`quantcheck compare`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from quantcheck.report.stored import StoredRun

__all__ = ["command"]


@click.command("compare")
@click.argument("run_a", metavar="A[:VARIANT]")
@click.argument("run_b", metavar="[B[:VARIANT]]", required=False)
@click.option("--force", is_flag=True, help="Show figures that are not comparable, without verdicts.")
@click.option("--json", "as_json", type=click.Path(path_type=Path, dir_okay=False), help="Write all of it as JSON.")
@click.option("--markdown", "as_page", type=click.Path(path_type=Path, dir_okay=False), help="Write it as Markdown.")
def command(run_a: str, run_b: str | None, force: bool, as_json: Path | None, as_page: Path | None) -> None:
    """Verdicts between two stored runs: results folder A is the baseline, B the variant.

    Without names, every variant that both runs have is compared with itself; a name after a colon picks one. Quality
    is paired by item, speed is not paired. Refuses when prompts, harness, engine, hardware or settings differ. Of
    imported results one folder is enough: its baseline against its other variants.
    """
    from quantcheck.cli.output import write_whole
    from quantcheck.report.compare import compare_runs
    from quantcheck.report.compare_text import as_markdown, as_text

    a, ours = _run(run_a)
    if run_b is None and not a.imported:
        raise click.UsageError("B is missing: give two results folders; one alone is enough for imported results")
    b, theirs = (a, None) if run_b is None else _run(run_b)
    if run_b is None and ours is not None:
        ours, theirs = a.index.baseline, ours
    found = compare_runs(a, b, variants=(ours, theirs), force=force)
    for path, text in ((as_json, found.model_dump_json(indent=1) + "\n"), (as_page, as_markdown(found))):
        if path is not None:
            write_whole(path, text)
    click.echo(as_text(found, sys.stdout), nl=False)


def _run(named: str) -> "tuple[StoredRun, str | None]":
    """The run in a folder, and the variant after its last colon, unless the whole is a folder's name."""
    from quantcheck.report.stored import read_run
    from quantcheck.store import Store

    folder, _, variant = named.rpartition(":")
    if not folder or Path(named).is_dir():
        folder, variant = named, ""
    return read_run(Store(Path(folder))), variant or None
