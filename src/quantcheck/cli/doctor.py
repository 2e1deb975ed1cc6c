"""`quantcheck doctor`."""

import click

__all__ = ["command"]


@click.command("doctor")
def command() -> None:
    """Say what this machine can run, and what to install for the rest. Starts nothing and changes nothing."""
    from quantcheck.runner.checkup import checkup

    found = checkup()
    width = max(len(check.name) for check in found)
    for check in found:
        click.echo(f"{check.mark:<4} {check.name:<{width}}  {check.found}")
        if check.remedy:
            click.echo(f"{'':<4} {'':<{width}}  -> {check.remedy}")
    broken = [check.name for check in found if check.mark == "no" and check.needed]
    if broken:
        click.echo(f"\n`quantcheck run` cannot work here before this is mended: {', '.join(broken)}")
        raise SystemExit(2)
    click.echo("\n`quantcheck run` works here.")
