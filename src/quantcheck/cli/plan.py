"""`quantcheck plan`."""

import sys
from pathlib import Path

import click

__all__ = ["command"]


@click.command("plan")
@click.argument("experiment", required=False)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Results folder [results/NAME].")
@click.option("--no-probe", is_flag=True, help="Do not measure the baseline for a few seconds to know the pace.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def command(experiment: str | None, out: Path | None, no_probe: bool, as_json: bool) -> None:
    """Show the cells of EXPERIMENT, the time and money they take, and what they can show.

    For every task the smallest change that its items can show and the items that the margin takes, for speed the
    blocks: from runs stored in this results folder or beside it, else from a stated assumption. When nothing is stored
    yet, the baseline is made and probed for a few seconds to know this machine's pace; with vLLM, which takes minutes
    to start, the time is assumed instead, and what is assumed is printed.
    """
    import json

    from quantcheck.cli.source import experiment_named
    from quantcheck.report.terminal import render_parts
    from quantcheck.runner.estimate import estimate
    from quantcheck.runner.power_grids import power_grids, power_notes
    from quantcheck.store import Store

    chosen = experiment_named(experiment)
    folder = out or Path("results") / chosen.name
    found = estimate(chosen, Store(folder), allow_probe=not no_probe)
    if as_json:
        click.echo(json.dumps({**found.document(), "results": str(folder)}, indent=1))
        return
    click.echo(f"{chosen.name}: {len(found.plan)} cells, results in {folder}")
    for line in found.lines():
        click.echo(f"  {line}")
    notes = [(f"- {note}", "dim") for note in power_notes(found.power)]
    click.echo(render_parts([], power_grids(found.power), sys.stdout), nl=False)
    click.echo(render_parts([("", ""), *notes] if notes else [], [], sys.stdout), nl=False)
