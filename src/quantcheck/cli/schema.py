"""`quantcheck schema`."""

import json

import click

__all__ = ["command"]


@click.command("schema")
@click.argument("what", type=click.Choice(["experiment", "summary", "load"]), default="experiment")
def command(what: str) -> None:
    """Print the JSON Schema of an experiment's YAML (for editors), of summary.json, or of `quantcheck load --out`."""
    from quantcheck.report.schema import load_schema, summary_schema
    from quantcheck.spec.experiment import Experiment

    if what == "experiment":
        schema = Experiment.model_json_schema(by_alias=True)
    else:
        schema = summary_schema() if what == "summary" else load_schema()
    click.echo(json.dumps(schema, indent=1))
