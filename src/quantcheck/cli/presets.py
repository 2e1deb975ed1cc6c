"""`quantcheck presets`."""

import click

__all__ = ["command"]


@click.command("presets")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the presets, or print the YAML of the one called NAME (to save and change)."""
    from quantcheck import presets
    from quantcheck.errors import SpecError

    if name is None:
        for preset in presets.names():
            first = presets.text(preset).splitlines()[0].lstrip("# ")
            click.echo(f"{preset:<14} {first}")
    elif name in presets.names():
        click.echo(presets.text(name), nl=False)
    else:
        raise SpecError(f"there is no preset {name!r}; known: {', '.join(presets.names())}")
