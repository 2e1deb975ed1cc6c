"""`quantcheck schema`."""

import json

import click

__all__ = ["command"]


@click.command("schema")
@click.argument("what", type=click.Choice(["experiment", "summary"]), default="experiment")
def command(what: str) -> None:
    """Print the JSON Schema of an experiment's YAML (for editors) or of summary.json (for programs)."""
    from quantcheck.report.schema import summary_schema
    from quantcheck.spec.experiment import Experiment

    schema = Experiment.model_json_schema(by_alias=True) if what == "experiment" else summary_schema()
    click.echo(json.dumps(schema, indent=1))
