"""`quantcheck import`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from quantcheck.report.comparison import RunComparison

__all__ = ["command"]

TOOLS = ("guidellm", "aiperf", "vllm-bench", "lm-eval", "llama-bench", "llama-perplexity")


@click.command("import")
@click.argument("files", metavar="[VARIANT=]FILE...", nargs=-1, required=True)
@click.option("--as", "variant", metavar="VARIANT", help="The variant that was measured, for files without VARIANT=.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Results folder.")
@click.option("--baseline", is_flag=True, help="The variant is the baseline; else the first that is imported is.")
@click.option("--from", "tool", type=click.Choice(TOOLS), help="The tool that wrote them; else their content says.")
@click.option("--name", help="The workload's or the text's name; tools do not tell it.")
@click.option("--engine", help="What served the model, e.g. vllm; only tools that run it themselves tell.")
@click.option("--metric", help="Of lm-eval: what says an answer is right, e.g. acc_norm; else the task's first.")
@click.option("--model", help="Of llama-bench: part of the file's name, where several models were tested.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(
    files: tuple[str, ...], variant: str | None, out: Path, baseline: bool, tool: str | None, name: str | None,
    engine: str | None, metric: str | None, model: str | None, quiet: bool,
) -> None:
    """Read results of other tools into a results folder, and compare what it then holds.

    Several files of one load are repeated measurements. `quantcheck compare FOLDER` shows the comparison again.
    """
    from quantcheck.importers import import_files
    from quantcheck.importers.keep import Options
    from quantcheck.spec.part import NAME

    if name is not None:
        import re

        if not re.fullmatch(NAME, name):
            raise click.UsageError(f"--name: {name!r} is no name; letters, digits, . _ - only")
    named = [_named(file, variant) for file in files]
    first = None
    if baseline:
        variants = list(dict.fromkeys(one for one, _ in named))
        first = variant or variants[0]
    found = import_files(named, out, Options(tool, name, engine, metric, model), baseline=first)
    if not quiet:
        for one, subject, by in found.cells:
            click.echo(f"{one}  {subject}  (imported from {by})")
        for note in found.notes:
            click.echo(f"note: {note}")
    if len(found.variants) > 1:
        _compare(out, quiet)
    elif not quiet:
        click.echo(f"{out} holds one variant, {found.variants[0]}; import another to compare them")


def _named(file: str, variant: str | None) -> tuple[str, Path]:
    """The variant and the path of an argument; a path that exists is one as a whole."""
    left, equals, right = file.partition("=")
    if equals and left and right and not Path(file).exists():
        return left, Path(right)
    if variant is None:
        raise click.UsageError(f"{file}: which variant is it? give --as VARIANT, or VARIANT={file}")
    return variant, Path(file)


def _compare(out: Path, quiet: bool) -> None:
    """Write comparison.md and comparison.json; what cannot be compared is a line, not a failure of the import."""
    from quantcheck.errors import SpecError
    from quantcheck.report.compare import compare_runs
    from quantcheck.report.compare_text import as_markdown, as_text
    from quantcheck.report.stored import read_run
    from quantcheck.store import Store

    run = read_run(Store(out))
    try:
        compared: RunComparison = compare_runs(run, run)
    except SpecError as error:
        if not quiet:
            click.echo(f"imported, and not compared: {error}")
        return
    run.store.write_document("comparison.json", compared.model_dump_json(indent=1) + "\n")
    run.store.write_document("comparison.md", as_markdown(compared))
    if not quiet:
        click.echo()
        click.echo(as_text(compared, sys.stdout), nl=False)
