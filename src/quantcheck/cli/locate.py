"""`quantcheck locate`."""

import sys
from pathlib import Path

import click

from quantcheck.errors import SpecError
from quantcheck.spec.experiment import Experiment

__all__ = ["command"]


@click.command("locate")
@click.argument("experiment", required=False)
@click.option("--variant", required=True, help="Which variant of the experiment is looked into.")
@click.option("--corpus", help="A perplexity corpus of the experiment [its first].")
@click.option("--tokens", type=click.IntRange(min=64), default=4096, show_default=True,
              help="Tokens of it to score, once for every module.")
@click.option("--reverse", is_flag=True, help="The variant with one module of the baseline, not the other way round.")
@click.option("--through", metavar="ENGINE",
              help="Score baseline and variant with a second engine, too, and say whether weights or kernels do the "
                   "damage: transformers (in float32), vllm, or an experiment's file whose engine it is.")
@click.option("--all", "show_all", is_flag=True, help="Show every module, not the worst 20.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the ranking as JSON, and beside it the picture as SVG.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    experiment: str | None, variant: str, corpus: str | None, tokens: int, reverse: bool,
    through: str | None, show_all: bool, out: Path | None, quiet: bool,
) -> None:
    """Say which modules of a variant of EXPERIMENT do the damage.

    The baseline is scored with one module (a tensor of a GGUF file, a layer's projection under transformers) of the
    variant, for every module in which the two differ; each takes as long as scoring TOKENS once. Printed are the
    modules by the KL divergence that each adds, with 95% intervals, and the line of a recipe that would keep the worst
    in higher precision. Needs the engine llama.cpp or transformers, and a perplexity corpus.

    With --through no module is exchanged: the same weights are scored by two engines, which tells weights from kernels.
    """
    from quantcheck.cli.display import display
    from quantcheck.cli.output import write_whole
    from quantcheck.cli.source import experiment_named
    from quantcheck.report.heatmap import heatmap
    from quantcheck.report.located import located_grid, located_lines
    from quantcheck.report.terminal import render_parts
    from quantcheck.runner.locate import locate

    if through is not None and (reverse or show_all):
        raise SpecError("--through compares whole models; leave --reverse and --all out")
    chosen = experiment_named(experiment)
    if through is not None:
        _through(chosen, variant, through, corpus, tokens, out, quiet)
        return
    with display(quiet=quiet) as progress:
        found = locate(chosen, variant, progress, corpus=corpus, tokens=tokens, reverse=reverse)
    lines = [(line, "") for line in located_lines(found)]
    click.echo(render_parts(lines, [("Modules, the worst first", located_grid(found, None if show_all else 20))],
                            sys.stdout), nl=False)
    if out is not None:
        write_whole(out, found.model_dump_json(indent=1) + "\n")
        write_whole(out.with_suffix(".svg"), heatmap(found))


def _through(
    chosen: Experiment, variant: str, named: str, corpus: str | None, tokens: int, out: Path | None, quiet: bool
) -> None:
    from quantcheck.cli.display import display
    from quantcheck.cli.output import write_whole
    from quantcheck.report.terminal import render_parts
    from quantcheck.report.through import through_grid, through_lines
    from quantcheck.runner.through import second_engine, through

    engine = second_engine(named)
    with display(quiet=quiet) as progress:
        found = through(chosen, variant, engine, progress, corpus=corpus, tokens=tokens)
    lines = [(line, "") for line in through_lines(found)]
    click.echo(render_parts(lines, [("The same weights under two engines", through_grid(found))], sys.stdout), nl=False)
    if out is not None:
        write_whole(out, found.model_dump_json(indent=1) + "\n")
