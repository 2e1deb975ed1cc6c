"""`quantcheck schema`."""

import json

import click

__all__ = ["command"]


@click.command("schema")
@click.argument("what", type=click.Choice(["experiment", "summary", "load", "gate"]), default="experiment")
def command(what: str) -> None:
    """Print the JSON Schema of an experiment (for editors), of summary.json, or of what `load` and `gate` write."""
    from quantcheck.report.schema import gate_schema, load_schema, summary_schema
    from quantcheck.spec.experiment import Experiment

    if what == "experiment":
        schema = Experiment.model_json_schema(by_alias=True)
    else:
        schema = {"summary": summary_schema, "load": load_schema, "gate": gate_schema}[what]()
    click.echo(json.dumps(schema, indent=1))
