"""`quantcheck plan`."""

from pathlib import Path

import click

__all__ = ["command"]


@click.command("plan")
@click.argument("experiment", required=False)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Results folder [results/NAME].")
@click.option("--no-probe", is_flag=True, help="Do not measure the baseline for a few seconds to know the pace.")
def command(experiment: str | None, out: Path | None, no_probe: bool) -> None:
    """Show the cells of EXPERIMENT, what is stored already, and the time that the rest will take.

    When nothing is stored yet, the baseline is made and probed for a few seconds to know this machine's pace.
    """
    from quantcheck.cli.source import experiment_named
    from quantcheck.runner.estimate import estimate
    from quantcheck.store import Store

    chosen = experiment_named(experiment)
    folder = out or Path("results") / chosen.name
    found = estimate(chosen, Store(folder), allow_probe=not no_probe)
    click.echo(f"{chosen.name}: {len(found.plan)} cells, results in {folder}")
    for line in found.lines():
        click.echo(f"  {line}")
