"""The command line: a thin skin, one module per verb, loaded when the verb is used."""

import errno
import importlib
import os
import sys

import click

from quantcheck import __version__
from quantcheck.cli.interrupt import install
from quantcheck.errors import QuantcheckError

__all__ = ["main"]

_VERBS = {
    "run": "Measure an experiment and print the verdict; goes on where it stopped.",
    "load": "Load any endpoint: latencies, throughput, the highest load that meets an SLO.",
    "plan": "Show the cells of an experiment, their time and money, and what they can show.",
    "locate": "Say which modules of a variant do the damage, and what would keep them.",
    "judge": "Let another model judge what the variants of a stored run wrote.",
    "compare": "Verdicts between two stored runs, where they are comparable.",
    "import": "Read results of other tools, and compare them.",
    "report": "Write report.html, comparison.md and summary.json again from stored results.",
    "runs": "List the stored runs; remove what is no longer needed, or export one.",
    "dashboard": "Show the reports of all stored runs live, in a browser on this machine.",
    "gate": "Say for CI, by exit code, whether a variant may ship: 0 yes, 1 no, 2 open.",
    "presets": "List the experiments that ship, or print one.",
    "doctor": "Say what this machine can run, and what to install for the rest.",
    "engines": "List, install or remove the environments of engines and quantizers.",
    "schema": "Print the JSON Schema of experiments or of summary.json.",
}

_MODULES = {"import": "import_results"}
"""Verbs whose module cannot have their name."""


class _Verbs(click.Group):
    """Knows its verbs by name and one line; imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command = importlib.import_module(f"quantcheck.cli.{_MODULES.get(cmd_name, cmd_name)}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _VERBS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "see `quantcheck --help`"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="quantcheck %(version)s")
def _cli() -> None:
    """Which quantized variant of this model can I ship?

    `quantcheck run` alone answers it for the embedded reference model, on this machine, in minutes.
    """


def main() -> None:
    """The `quantcheck` command. Exit codes: 0 done, 1 a measurement failed, 2 a mistake to mend, 130 interrupted."""
    install()
    try:
        # Not `_cli.main`: click would answer a reader that has gone with exit code 1.
        with _cli.make_context("quantcheck", sys.argv[1:]) as context:
            _cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except QuantcheckError as error:
        click.echo(f"quantcheck: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        kept = "; finished cells are kept, the same command goes on from there" if sys.argv[1:2] == ["run"] else ""
        click.echo(f"quantcheck: interrupted{kept}", err=True)
        # Where the signal came amid an exec of text, as dataclasses are made, CPython keeps in mind that it was not
        # handled there, and ends `python -m` by the signal instead of the exit code. Another exec makes it forget.
        exec("")  # noqa: S102
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone (quantcheck ... | head): nothing is wrong, and nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        # Wherever it is that a disk has no room: what was stored before is whole.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        click.echo(f"quantcheck: {error.filename or 'a file'} cannot be written ({error.strerror}); free disk space or "
                   "use another folder, then run again: finished cells are kept", err=True)
        sys.exit(2)
