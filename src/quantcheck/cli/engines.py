"""`quantcheck engines`."""

import click

__all__ = ["command"]


@click.group("engines", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List the environments of engines and quantizers; install or remove one."""
    if ctx.invoked_subcommand is not None:
        return
    from quantcheck import environments

    found = environments.installed()
    for name in environments.NAMES:
        click.echo(f"{name:<15} {environments.PURPOSE[name]}")
        own = [one for one in found if one.name == name]
        for one in own:
            versions = ", ".join(f"{package} {version}" for package, version in one.versions.items())
            old = "" if one.current else " (of an older lock: install again)"
            click.echo(f"{'':<15} installed{old}: {versions}; {one.size / 1e9:.2f} GB; {one.python}")
        if not own:
            click.echo(f"{'':<15} not installed -> quantcheck engines install {name}")
    click.echo(f"{'llama.cpp wheel':<15} serves GGUF variants; comes with quantcheck")


@command.command("install")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def _install(names: tuple[str, ...]) -> None:
    """Make the environment NAME from its lock file; does nothing when it is there."""
    from quantcheck import environments

    for name in names:
        environments.lock_of(name)
    for name in names:
        made = environments.install(name, click.echo)
        click.echo(f"{name}: {made.size / 1e9:.2f} GB, {made.python}")


@command.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def _remove(names: tuple[str, ...]) -> None:
    """Delete the environment NAME."""
    from quantcheck import environments

    for name in names:
        environments.lock_of(name)
    for name in names:
        click.echo(f"{name}: removed" if environments.remove(name) else f"{name}: was not installed")
