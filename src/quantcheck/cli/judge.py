"""`quantcheck judge`."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

__all__ = ["command"]


@click.command("judge")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--url", required=True, help="An OpenAI-compatible endpoint of a strong model, ending in /v1.")
@click.option("--model", required=True, help="Its name there.")
@click.option("--key-env", help="The environment variable that holds the endpoint's key.")
@click.option("--items", type=click.IntRange(min=1), help="Prompts to judge, the first so many [all].")
@click.option("--repeats", type=click.IntRange(1, 20), default=2, show_default=True,
              help="How often each order of each pair is asked about.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.7, show_default=True)
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True)
@click.option("--margin", type=click.FloatRange(0.0, 1.0, min_open=True), default=0.1, show_default=True,
              help="The loss of preference that does not matter.")
def command(
    folder: Path, url: str, model: str, key_env: str | None, items: int | None, repeats: int, temperature: float,
    concurrency: int, margin: float,
) -> None:
    """Let another model judge what the variants of the run in FOLDER wrote, against what the baseline wrote.

    The run must hold texts (`quality: {continuations: ...}`). Every pair of texts is shown in both orders, --repeats
    times each; equal texts are a draw and are not asked about. The texts are sent to --url and nowhere else. Written
    into FOLDER: judge.json, with every answer. A preference is a judge's taste: it shows damage that tasks do not
    measure, and is no accuracy.
    """
    from quantcheck.judge import INSTRUCTION_SHA256, Judge, JudgeReport, judge, judged_grid, judged_row, pairs_of
    from quantcheck.report.stored import read_run
    from quantcheck.report.terminal import render_parts
    from quantcheck.store import Store

    store = Store(folder)
    index = read_run(store, unfinished=True).index
    asked = Judge(url, model, key_env, repeats, temperature, concurrency)
    names = [name for name in index.variants if name != index.baseline]
    if index.continuations and index.quality(index.again, index.continuations):
        names.append(index.again)  # what a judge says of the baseline against itself
    pairs = {name: pairs_of(index, name, items) for name in names}
    rows, answers = [], {}
    for name, own in pairs.items():
        found = judge(asked, own, _told(name) if sys.stderr.isatty() else lambda _done, _of: None)
        same = [pair.id for pair in own if pair.baseline == pair.variant]
        rows.append(judged_row(name, [pair.id for pair in own], same, found, margin))
        answers[name] = [{"pair": one.pair, "first": one.first, "preferred": one.preferred, "text": one.text}
                         for one in found]
    report = JudgeReport(run=index.experiment.name, baseline=index.baseline, judge=model, url=url, repeats=repeats,
                         temperature=temperature, instruction_sha256=INSTRUCTION_SHA256, rows=rows, answers=answers)
    store.write_document("judge.json", report.model_dump_json(indent=1) + "\n")
    title = f"{model} on {sum(row.pairs - row.same for row in rows)} pairs of texts that differ"
    click.echo(render_parts([], [(title, judged_grid(report))], sys.stdout), nl=False)
    click.echo("\npreference: won minus lost, of all pairs. first text: how often the judge preferred what it saw "
               f"first; 50% is fair.\nanswers: {folder / 'judge.json'}")


def _told(name: str) -> Callable[[int, int], None]:
    def tell(done: int, of: int) -> None:
        click.echo(f"\r{name}: {done} of {of} answers", nl=done == of, err=True)

    return tell
