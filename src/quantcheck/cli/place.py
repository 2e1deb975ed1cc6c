"""Where verbs may run: on this machine, or on a Ray cluster."""

import click

__all__ = ["placed"]


def placed(on: str, labels: tuple[str, ...]) -> dict[str, str]:
    """The labels that nodes must have, by name; `UsageError` for a place that cannot be."""
    if on not in ("local", "ray") and not on.startswith("ray://"):
        raise click.UsageError(f"--on {on}: give local, ray or ray://HOST:PORT")
    if labels and on == "local":
        raise click.UsageError("--node-label is of the nodes of a Ray cluster: give --on ray with it, or leave it out")
    for label in labels:
        if not all(label.partition("=")[::2]):
            raise click.UsageError(f"--node-label {label}: give NAME=VALUE, as in `ray start --labels`")
    return {name: value for name, _, value in (label.partition("=") for label in labels)}
