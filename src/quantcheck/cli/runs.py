"""`quantcheck runs`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from quantcheck.report.listing import RunLine

__all__ = ["command"]

RESULTS = Path("results")
FOLDER = click.argument("folder", metavar="[FOLDER]", default=RESULTS, type=click.Path(path_type=Path, file_okay=False))
FILTER = click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE",
                      help="Only runs that this holds for; * and ? in VALUE match. Keys: name, experiment, model, "
                           "engine, baseline, machine, state. Several must all hold.")


class _Runs(click.Group):
    """`runs` alone lists: what is no verb of it is the folder."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, "-h", "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("runs", cls=_Runs)
def command() -> None:
    """List the runs in or below FOLDER [results]; remove what is no longer needed, export one, or copy one to shared
    storage and back.

    `quantcheck runs [FOLDER] [--filter KEY=VALUE] [--json]` lists: `list` need not be written.
    """


@command.command("list")
@FOLDER
@FILTER
@click.option("--json", "json_", is_flag=True, help="Print JSON, an object per run.")
def _list(folder: Path, filters: tuple[str, ...], json_: bool) -> None:
    """List the runs: cells stored of those planned, machine, date, and the verdict."""
    import json

    lines = _found(folder, filters)
    if json_:
        click.echo(json.dumps([line.model_dump(mode="json") for line in lines], indent=1))
        return
    for line in lines:
        click.echo("\n".join(_words(line)))
    if not lines:
        click.echo(f"no run in {folder}" + (" that the filters hold for" if filters else ""), err=True)


@command.command("prune")
@FOLDER
@FILTER
@click.option("--whole", is_flag=True, help="Remove the runs themselves, with all that was measured; needs --filter.")
@click.option("--yes", is_flag=True, help="Remove; without it, only what would be removed is told.")
def _prune(folder: Path, filters: tuple[str, ...], whole: bool, yes: bool) -> None:
    """Remove what no report needs: work/, damaged cells, and cells of earlier experiments in the same folder.

    Never touches a run that goes on, or a file that quantcheck did not write.
    """
    from quantcheck.errors import SpecError, StoreError
    from quantcheck.store import Store
    from quantcheck.store.prune import leftovers, remove, size, whole_run

    if whole and not filters:
        raise SpecError("--whole: name the runs with --filter, as in --filter name=old-*")
    total, skipped = 0, []
    for line in _found(folder, filters):
        store = Store(Path(line.folder))
        if line.state == "running":
            click.echo(f"{line.name}: running, left alone")
            continue
        try:
            paths = whole_run(store) if whole else leftovers(store)
            found = size(paths)
            if not paths:
                continue
            click.echo(f"{line.name}: {found:,} bytes in {', '.join(str(p.relative_to(store.root)) for p in paths[:4])}"
                       + (f" and {len(paths) - 4} more" if len(paths) > 4 else ""))
            if yes:
                found = remove(store, whole_run if whole else leftovers)
        except StoreError as error:
            skipped.append(str(error))
            continue
        total += found
    click.echo(f"{total:,} bytes {'removed' if yes else 'would be removed: say --yes to remove them'}")
    if skipped:
        raise StoreError("; ".join(skipped))


@command.command("export")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--to", required=True, type=click.Path(path_type=Path, dir_okay=False),
              help="FILE.parquet or FILE.csv.")
@click.option("--table", help="Which raw samples: requests, chunks, items, tokens, ...; "
              "none: the only one, or requests.")
def _export(run: Path, to: Path, table: str | None) -> None:
    """Write one table of all cells of the run in the folder RUN into one file, a row per request, item or token."""
    from quantcheck.errors import SpecError
    from quantcheck.report.stored import read_run
    from quantcheck.store import Store
    from quantcheck.store.views import export, tables_of

    kind = to.suffix.removeprefix(".").lower()
    if kind not in ("parquet", "csv"):
        raise SpecError(f"--to {to}: give a name that ends in .parquet or .csv")
    stored = read_run(Store(run), unfinished=True)
    there = tables_of(stored.cells)
    if table is None:
        if len(there) != 1 and "requests" not in there:
            raise SpecError(f"--table: say which of {', '.join(there) or 'none'}")
        table = there[0] if len(there) == 1 else "requests"
    part = to.with_name(f".{to.name}.part")
    try:
        rows = export(stored.cells, table, str(part), kind)
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)
    for problem in stored.problems:
        click.echo(f"left out: {problem.get('variant') or 'run'}: {problem['reason']}", err=True)
    click.echo(f"{to}: {rows:,} rows of {table}")


@command.command("push")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.argument("url")
def _push(run: Path, url: str) -> None:
    """Copy the run in the folder RUN to URL: a folder, or storage such as s3://bucket/prefix.

    Finished cells and documents are copied, each file by what it holds, and what is there already is not copied again.
    Needs `pip install 'quantcheck[remote]'`.
    """
    from quantcheck.store import Store
    from quantcheck.store.mirror import push

    copied = push(Store(run), url)
    click.echo(f"{copied.cells:,} cells are there, {copied.new:,} of them new")


@command.command("pull")
@click.argument("url")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
def _pull(url: str, run: Path) -> None:
    """Bring the run that `push` copied to URL into the folder RUN, which is new or holds a part of it.

    Every file is checked against its checksum before it becomes a part of the run.
    """
    from quantcheck.store import Store
    from quantcheck.store.mirror import pull

    copied = pull(url, Store(run))
    click.echo(f"{copied.cells:,} cells are in {run}, {copied.new:,} of them new")


def _found(folder: Path, filters: tuple[str, ...]) -> "list[RunLine]":
    from quantcheck.errors import StoreError
    from quantcheck.report.listing import list_runs, select

    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder; give one that holds results, as `quantcheck run` writes them")
    return select(list_runs([folder]), filters)


def _words(line: "RunLine") -> list[str]:
    about = [line.model, line.engine, line.machine, line.changed]
    words = [f"{line.name}   {line.state}, {line.stored:,} of {line.planned:,} cells"
             + ("" if line.cells_here else " (the report alone is kept)"),
             "  " + " · ".join(part for part in about if part)]
    return [*words, f"  {line.sentence or line.reason}"] if line.sentence or line.reason else words
