"""`quantcheck run`."""

import sys
from pathlib import Path

import click

__all__ = ["command"]


@click.command("run")
@click.argument("experiment", required=False)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Results folder [results/NAME].")
@click.option("--on", default="local", show_default=True, metavar="WHERE",
              help="local: here, in order. ray: the Ray cluster of this machine, or one started for this run. "
                   "ray://HOST:PORT: through a cluster's client server.")
@click.option("--node-label", "labels", multiple=True, metavar="NAME=VALUE",
              help="With Ray: use only nodes with this label; may be given several times.")
@click.option("--block", "blocks", type=click.IntRange(min=1), multiple=True, metavar="N",
              help="Measure only this block now, from 1; may be given several times. Quality is of the first.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(
    experiment: str | None, out: Path | None, on: str, labels: tuple[str, ...], blocks: tuple[int, ...], quiet: bool
) -> None:
    """Measure EXPERIMENT (a YAML file or a preset; none: the embedded default) and print the verdict.

    What is stored already is not measured again: after a stop, the same command goes on.
    """
    from quantcheck.cli.place import placed
    from quantcheck.cli.source import experiment_named

    node_labels = placed(on, labels)
    chosen = experiment_named(experiment)
    folder = out or Path("results") / chosen.name
    # After the experiment was read: a misspelt key is told at once, without waiting for these.
    from quantcheck.cli.display import display
    from quantcheck.report.terminal import render
    from quantcheck.runner.run import run

    again = f"quantcheck run {experiment or ''}".strip()
    now = [block - 1 for block in blocks] or None
    with display(quiet=quiet) as progress:
        if on == "local":
            outcome = run(chosen, folder, progress, command=again, blocks=now)
        else:
            from quantcheck.distributed.walker import walker_on

            with walker_on(on, node_labels, progress) as walker:
                outcome = run(chosen, folder, progress, command=f"{again} --on {on}", walker=walker, blocks=now)
    if not quiet:
        click.echo(render(outcome.summary, sys.stdout), nl=False)
        click.echo(f"\nreport: {folder / 'report.html'}, {folder / 'comparison.md'}   data: {folder / 'summary.json'}")
    tasks: dict[str, str] = {}
    for problem in outcome.problems:
        if "subject" in problem:  # what a machine cannot answer it cannot answer for any variant
            tasks[problem["subject"]] = problem["reason"]
        else:
            click.echo(f"quantcheck: {problem['variant']} was not measured whole: {problem['reason']}", err=True)
    for subject, reason in tasks.items():
        click.echo(f"quantcheck: {subject} was not measured: {reason}", err=True)
    if outcome.problems:
        sys.exit(1)
