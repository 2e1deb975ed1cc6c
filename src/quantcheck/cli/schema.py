"""`quantcheck schema`."""

import json

import click

__all__ = ["command"]


@click.command("schema")
@click.argument("what", type=click.Choice(["experiment", "summary"]), default="experiment")
def command(what: str) -> None:
    """Print the JSON Schema of an experiment's YAML (for editors) or of summary.json (for programs)."""
    from quantcheck.report.view import Summary
    from quantcheck.spec.experiment import Experiment

    model = Experiment if what == "experiment" else Summary
    click.echo(json.dumps(model.model_json_schema(by_alias=True), indent=1))
