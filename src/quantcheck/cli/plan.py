"""`quantcheck plan`."""

from pathlib import Path

import click

__all__ = ["command"]


@click.command("plan")
@click.argument("experiment", required=False)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Results folder [results/NAME].")
def command(experiment: str | None, out: Path | None) -> None:
    """Show the cells of EXPERIMENT, what is stored already, and the time the rest will take. Measures nothing."""
    from quantcheck.cli.source import experiment_named
    from quantcheck.runner.estimate import estimate
    from quantcheck.runner.plan import make_plan
    from quantcheck.store import Store

    chosen = experiment_named(experiment)
    folder = out or Path("results") / chosen.name
    plan = make_plan(chosen)
    found = estimate(plan, Store(folder))
    click.echo(f"{chosen.name}: {len(plan)} cells, results in {folder}")
    for line in found.lines():
        click.echo(f"  {line}")
