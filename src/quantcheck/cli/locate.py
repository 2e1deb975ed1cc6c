"""`quantcheck locate`."""

import sys
from pathlib import Path

import click

__all__ = ["command"]


@click.command("locate")
@click.argument("experiment", required=False)
@click.option("--variant", required=True, help="Which variant of the experiment is looked into.")
@click.option("--corpus", help="A perplexity corpus of the experiment [its first].")
@click.option("--tokens", type=click.IntRange(min=64), default=4096, show_default=True,
              help="Tokens of it to score, once for every module.")
@click.option("--reverse", is_flag=True, help="The variant with one module of the baseline, not the other way round.")
@click.option("--all", "show_all", is_flag=True, help="Show every module, not the worst 20.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the ranking as JSON, and beside it the picture as SVG.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    experiment: str | None, variant: str, corpus: str | None, tokens: int, reverse: bool, show_all: bool,
    out: Path | None, quiet: bool,
) -> None:
    """Say which modules of a variant of EXPERIMENT do the damage.

    The baseline is scored with one module (a tensor of a GGUF file, a layer's projection under transformers) of the
    variant, for every module in which the two differ; each takes as long as scoring TOKENS once. Printed are the
    modules by the KL divergence that each adds, with 95% intervals, and the line of a recipe that would keep the worst
    in higher precision. Needs the engine llama.cpp or transformers, and a perplexity corpus.
    """
    from quantcheck.cli.display import display
    from quantcheck.cli.output import write_whole
    from quantcheck.cli.source import experiment_named
    from quantcheck.report.heatmap import heatmap
    from quantcheck.report.located import located_grid, located_lines
    from quantcheck.report.terminal import render_parts
    from quantcheck.runner.locate import locate

    chosen = experiment_named(experiment)
    with display(quiet=quiet) as progress:
        found = locate(chosen, variant, progress, corpus=corpus, tokens=tokens, reverse=reverse)
    lines = [(line, "") for line in located_lines(found)]
    click.echo(render_parts(lines, [("Modules, the worst first", located_grid(found, None if show_all else 20))],
                            sys.stdout), nl=False)
    if out is not None:
        write_whole(out, found.model_dump_json(indent=1) + "\n")
        write_whole(out.with_suffix(".svg"), heatmap(found))
