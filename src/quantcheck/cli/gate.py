"""`quantcheck gate`."""

import sys
from pathlib import Path

import click

__all__ = ["command"]

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("gate")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False))
@click.option("--policy", type=FILE, help="YAML file of the conditions; none: those of the experiment.")
@click.option("--variant", help="Judge this one; none: is there one at least that may ship?")
@click.option("--junit", type=FILE, help="Write the conditions as JUnit XML, a test case each.")
@click.option("--json", "json_", type=FILE, help="Write the result as JSON.")
def command(run: Path, policy: Path | None, variant: str | None, junit: Path | None, json_: Path | None) -> None:
    """Hold the results in the folder RUN against a policy, for CI.

    Exit code 0: ship. 1: do not ship. 2: inconclusive or not comparable, or a mistake in what was asked. Nothing is
    measured, and nothing is written but the files that are named.
    """
    from quantcheck.cli.output import write_whole
    from quantcheck.report.gate import gate_lines, judge_gate
    from quantcheck.report.junit import junit_xml
    from quantcheck.report.stored import read_run
    from quantcheck.spec.document import read_policy
    from quantcheck.store import Store

    stored = read_run(Store(run))
    if policy is not None:
        stored = stored.under(read_policy(policy), str(policy))
    result = judge_gate(stored.summary(), variant, policy=None if policy is None else str(policy))
    for file, text in ((junit, junit_xml), (json_, lambda r: r.model_dump_json(indent=1) + "\n")):
        if file is not None:
            write_whole(file, text(result))
    click.echo("\n".join(gate_lines(result)))
    sys.exit(result.exit_code)
